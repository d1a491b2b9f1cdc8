"""Interrupts runs at random moments; the same command must resume them to the same final state.

    python scripts/kill_runs.py --kills 30 --terms 10 --keep 1,3

Trains a small run on digits once without interruption and then, with each of --keep checkpoints,
again and again, with SIGKILL or SIGTERM at a random moment from the start of the process, so also
while it imports, compiles and saves. A run that ends is compared bit by bit. Prints JSON, and exits
with 0 only if no start failed, every SIGTERM ended within --seconds with exit code 0 or 143, and
all final states are equal.
"""

import collections
import itertools
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from drifting import cli

KILLS = flags.DEFINE_integer("kills", 30, "Number of SIGKILLs", lower_bound=0)
TERMS = flags.DEFINE_integer("terms", 10, "Number of SIGTERMs", lower_bound=0)
KEEP = flags.DEFINE_list("keep", ["1", "3"], "train.keep_checkpoints, in turns")
SECONDS = flags.DEFINE_float("seconds", 60.0, "How long a process may take to stop on SIGTERM")
SEED = flags.DEFINE_integer("seed", 0, "Of the moments")

ROOT = pathlib.Path(__file__).parent.parent
STEPS = 60
CONFIG = {
    "train.total_steps": STEPS,
    "train.log_steps": 1,
    "train.sample_steps": 30,
    "train.checkpoint_steps": 5,
    "train.steps_per_call": 5,
    "method.num_generated": 4,
    "method.num_positives": 4,
    "method.num_unconditional": 2,
}


def start(workdir: pathlib.Path, keep: str) -> subprocess.Popen:
    """A training process; what it prints is added to <workdir>.log."""
    overrides = CONFIG | {"train.keep_checkpoints": keep}
    command = [sys.executable, "train.py", "--config", "configs/digits.py", "--workdir", workdir]
    command += [f"--config.{key}={value}" for key, value in overrides.items()]
    with open(f"{workdir}.log", "a") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)


def final_state(workdir: pathlib.Path) -> list[np.ndarray]:
    """The leaves of the last checkpoint's state, in a process that has released its devices."""
    import jax

    from drifting.runs.workdir import Run

    return [np.asarray(leaf) for leaf in jax.tree.leaves(Run(workdir).restore(STEPS)[0])]


def interrupt(process: subprocess.Popen, which: signal.Signals, after: float) -> float | None:
    """Sends the signal `after` seconds; how long the process lived on, or None if it had ended."""
    try:
        process.wait(after)
        return None
    except subprocess.TimeoutExpired:
        process.send_signal(which)
    sent = time.monotonic()
    try:
        process.wait(SECONDS.value)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return time.monotonic() - sent


def interrupted_run(
    workdir: pathlib.Path,
    keep: str,
    signals: collections.deque[signal.Signals],
    length: float,
    moments: random.Random,
) -> dict[str, Any]:
    """Trains to the end, interrupted by the next of `signals` at each start, which it takes."""
    found = {"keep_checkpoints": int(keep), "SIGKILL": 0, "SIGTERM": 0, "slowest_stop": 0.0}
    while True:
        process = start(workdir, keep)
        expected = [0]
        if signals:
            lived = interrupt(process, signals[0], moments.uniform(0.0, length))
            if lived is not None:
                which = signals.popleft()
                found[which.name] += 1
                # A process that has not reached Python's first line dies of SIGTERM itself.
                expected += [-9] if which == signal.SIGKILL else [143, -15]
                if which == signal.SIGTERM:
                    found["slowest_stop"] = max(found["slowest_stop"], round(lived, 1))
        code = process.wait()
        if code not in expected:
            lines = pathlib.Path(f"{workdir}.log").read_text().splitlines()
            return found | {"failure": f"exit code {code}: {lines[-1] if lines else ''}"}
        if code == 0:
            return found


def main(argv):
    del argv
    moments = random.Random(SEED.value)
    signals = [signal.SIGKILL] * KILLS.value + [signal.SIGTERM] * TERMS.value
    moments.shuffle(signals)
    signals = collections.deque(signals)
    with tempfile.TemporaryDirectory() as folder:
        whole = pathlib.Path(folder, "whole")
        began = time.monotonic()
        if start(whole, "3").wait():
            sys.exit(pathlib.Path(f"{whole}.log").read_text())
        length, expected = time.monotonic() - began, final_state(whole)
        runs, keeps = [], itertools.cycle(KEEP.value)
        bar = tqdm(total=len(signals), unit="signal", desc="interrupted")
        while signals:
            workdir = pathlib.Path(folder, f"run_{len(runs)}")
            found = interrupted_run(workdir, next(keeps), signals, length, moments)
            if "failure" not in found:
                found["equal"] = all(map(np.array_equal, expected, final_state(workdir)))
            runs.append(found)
            bar.update(found["SIGKILL"] + found["SIGTERM"])
    print(json.dumps({"seconds_uninterrupted": round(length, 1), "runs": runs}, indent=2))
    sys.exit(not all(run.get("equal") for run in runs))


if __name__ == "__main__":
    cli.run(main)

"""Reads damaged files; each must end in its value or in one clear error, soon and in bounds.

    python scripts/fuzz.py --reader npz --minutes 1
    python scripts/fuzz.py --reader all --minutes 10 --seed 3 --out fuzz

Small valid inputs (fuzz_readers.py) are changed at random (fuzz_changes.py) and read in a process
of their own. A failure is any error but a UserError, a process that dies, reading for more than
--seconds, or a peak of more than --gigabytes of memory. Prints JSON; --out keeps the first input
of each kind of failure. The exit code is 0 only if nothing failed.
"""

import collections
import itertools
import json
import logging
import multiprocessing
import os
import pathlib
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings

import fuzz_changes
import fuzz_readers
import numpy as np
from absl import flags
from tqdm import tqdm

from drifting import cli
from drifting.core.errors import UserError

READER = flags.DEFINE_list("reader", ["all"], f"all, or some of {', '.join(fuzz_readers.READERS)}")
MINUTES = flags.DEFINE_float("minutes", 1.0, "How long inputs are read", lower_bound=0.0)
SEED = flags.DEFINE_integer("seed", 0, "Of the changes; equal seeds give equal inputs")
SECONDS = flags.DEFINE_float("seconds", 5.0, "The longest time that one input may take")
GIGABYTES = flags.DEFINE_float("gigabytes", 2.0, "The largest peak of memory, with all libraries")
OUT = flags.DEFINE_string("out", None, "Folder for inputs that failed")


def changed_files(names: list[str], seed: int, number: int) -> tuple[str, dict[str, bytes]]:
    """The reader of input `number`, and its files."""
    name = names[number % len(names)]
    rng = np.random.default_rng([seed, number])
    return name, fuzz_changes.changed(fuzz_readers.valid_files(name), rng)


def outcome_of(name: str, files: dict[str, bytes], folder: pathlib.Path) -> str:
    """`read`, `refused`, or the kind of failure: the error's type and where it was raised."""
    for file, content in files.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    try:
        fuzz_readers.READERS[name].read(folder)
    except UserError:
        return "refused"
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {pathlib.Path(frame.filename).name}:{frame.name}"
    return "read"


def work(connection, names: list[str], seed: int, first: int, gigabytes: float) -> None:
    """Reads inputs `first`, `first` + 1, ... and reports (number, outcome) of each."""
    warnings.simplefilter("ignore")
    logging.disable()
    # More memory than allowed is a MemoryError, so that no input can fill the machine.
    most = int((gigabytes + 1) * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    for number in itertools.count(first):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["DRIFTING_CACHE"] = f"{folder}/cache"
            outcome = outcome_of(*changed_files(names, seed, number), pathlib.Path(folder, "given"))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB
        if peak > gigabytes:
            outcome = f"peak of {peak:.1f} GB"
        connection.send((number, outcome))
        if peak > gigabytes:  # the peak of a process never falls
            return


def fuzz(names: list[str], seed: int, minutes: float, seconds: float, gigabytes: float):
    """Yields (number, outcome) until the time is over; a process that hangs or dies is replaced."""
    context = multiprocessing.get_context("spawn")
    ends, number = time.monotonic() + 60 * minutes, 0
    while time.monotonic() < ends:
        ours, theirs = context.Pipe(duplex=False)
        given = theirs, names, seed, number, gigabytes
        worker = context.Process(target=work, args=given, daemon=True)
        worker.start()
        theirs.close()
        allowed = seconds + 60  # until the first report: libraries are imported
        while time.monotonic() < ends:
            try:
                if not ours.poll(allowed):
                    yield number, f"longer than {seconds:g} s"
                    number += 1
                    break
                number, outcome = ours.recv()
                yield number, outcome
            except EOFError:
                worker.join()
                if worker.exitcode != 0:
                    yield number, f"the process died with exit code {worker.exitcode}"
                    number += 1
                break
            number, allowed = number + 1, seconds
        worker.kill()
        worker.join()


def keep(out: str, names: list[str], seed: int, number: int, outcome: str) -> None:
    """Writes the files of an input that failed, and how it did."""
    name, files = changed_files(names, seed, number)
    folder = pathlib.Path(out, f"{name}_{number}")
    shutil.rmtree(folder, ignore_errors=True)
    for file, content in files.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "failure.txt").write_text(outcome + "\n")


def main(argv):
    del argv
    known = list(fuzz_readers.READERS)
    names = known if READER.value == ["all"] else READER.value
    for name in names:
        if name not in known:
            raise flags.IllegalFlagValueError(f"--reader {name}: known are all, {', '.join(known)}")
    counts = collections.defaultdict(collections.Counter)
    found = fuzz(names, SEED.value, MINUTES.value, SECONDS.value, GIGABYTES.value)
    bar = tqdm(found, unit="input", desc="fuzz", mininterval=1.0)
    for number, outcome in bar:
        name = names[number % len(names)]
        if outcome not in ("read", "refused") and outcome not in counts[name] and OUT.value:
            keep(OUT.value, names, SEED.value, number, outcome)
        counts[name][outcome] += 1
    inputs = sum(sum(c.values()) for c in counts.values())
    good = sum(c["read"] + c["refused"] for c in counts.values())
    print(json.dumps({"inputs": inputs, "failures": inputs - good, "outcomes": counts}, indent=2))
    sys.exit(inputs != good)


if __name__ == "__main__":
    cli.run(main)

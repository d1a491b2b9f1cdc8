"""A run that is killed and asked to stop at any moment, start-up and compilation included."""

import os
import pathlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from drifting.runs.workdir import Run
from drifting.training import writers

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEPS = 60
RUN = {
    "train.total_steps": STEPS,
    "train.checkpoint_steps": 20,
    "train.sample_steps": STEPS,
    "train.log_steps": 5,
    "train.steps_per_call": 5,
    "train.tensorboard": "false",
    "method.batch_size": 16,
    "method.num_diagnosed": 20,
    "model.width": 8,
    "model.depth": 1,
    "optimizer.warmup_steps": 5,
}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """start(workdir) -> process of the run, compiled anew each time."""

    def run(workdir):
        cache = tmp_path_factory.mktemp("cache")
        keys = [f"--config.{key}={value}" for key, value in RUN.items()]
        command = [sys.executable, "train.py", "--config", "configs/meanflow_toy2d.py"]
        return subprocess.Popen(
            [*command, "--workdir", workdir, *keys], cwd=ROOT, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "DRIFTING_CACHE": str(cache), "XLA_FLAGS": ""},
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole") / "run"
    _, errors = start(workdir).communicate()
    return jax.device_get(Run(workdir).restore(STEPS)[0]), errors


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("draw", range(3))
def test_no_restart_is_refused_and_the_end_is_the_same(start, whole, tmp_path, number, draw):
    generator = np.random.default_rng(draw)
    for _ in range(3):
        process = start(tmp_path / "run")
        try:
            process.wait(generator.uniform(0.5, 20))
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        _, errors = process.communicate(timeout=120)
        codes = {signal.SIGKILL: -9, signal.SIGTERM: 143}
        assert process.returncode in (0, codes[number]), errors
        assert "Traceback" not in errors
    process = start(tmp_path / "run")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    state = jax.device_get(Run(tmp_path / "run").restore(STEPS)[0])
    for part in ("step", "params", "ema_params", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, part), getattr(whole[0], part))
    rows = [row["step"] for row in writers.read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert rows == sorted(rows) and set(range(5, STEPS + 1, 5)) <= set(rows)

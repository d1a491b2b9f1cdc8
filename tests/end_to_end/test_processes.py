"""train.py, evaluate.py and sample.py as processes that are killed, preempted or mistyped."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import small_runs
import workdirs

from drifting.core import json_lines
from drifting.evaluation import record
from drifting.runs.workdir import Run
from drifting.training import checkpoints, writers

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = 120
RUN = small_runs.DRIFTING | {
    "train.total_steps": STEPS,
    "train.sample_steps": STEPS,
    "train.checkpoint_steps": 7,
    "train.steps_per_call": 3,
}


def start(*command, xla_flags=""):
    """A Python process, by default with JAX's default flags, and with its output in pipes."""
    command = [sys.executable, *map(str, command)]
    environment, pipe = {**os.environ, "XLA_FLAGS": xla_flags}, subprocess.PIPE
    return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def train(workdir, config="digits", values=RUN, xla_flags="", more=()):
    """A process of train.py with a DriftDiT of one block; by default the 120-step run."""
    keys = [f"--config.{key}={value}" for key, value in values.items()]
    given = ("--config", f"configs/{config}.py", "--workdir", workdir, *more)
    return start("tests/one_block.py", "train.py", *given, *keys, xla_flags=xla_flags)


@pytest.fixture
def whole(make_once, one_block):
    """Read-only workdir of the run that nobody interrupts."""

    def make(workdir):
        process = train(workdir)
        _, errors = process.communicate()
        assert process.returncode == 0, errors

    return make_once("whole", make)


def wait_for_step(process, workdir, step):
    while process.poll() is None:
        rows = workdirs.rows(workdir)
        if rows and rows[-1]["step"] >= step:
            return
        time.sleep(0.002)
    raise AssertionError(f"ended before step {step}: {process.communicate()[1]}")


def assert_same_run(workdir, whole):
    state, expected = (workdirs.state_of(folder, STEPS) for folder in (workdir, whole))
    for part in ("step", "params", "ema_params", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, part), getattr(expected, part))
    rows = workdirs.rows(workdir)
    assert [r["step"] for r in rows] == list(range(1, STEPS + 1))
    epochs, complete = (epoch_losses(folder) for folder in (workdir, whole))
    assert epochs and epochs == pytest.approx(complete, rel=1e-6)


def epoch_losses(workdir):
    """The mean loss of each epoch, by the step that it ended at."""
    rows = writers.read_metrics(workdir / "epochs.jsonl")
    return {row["step"]: row["avg_loss"] for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("draw", [0, 1, 2])
def test_killed_at_a_random_step_and_resumed(whole, tmp_path, draw):
    step = int(np.random.default_rng(draw).integers(1, STEPS - 40))  # time to kill it
    workdir = tmp_path / "run"
    process = train(workdir)
    wait_for_step(process, workdir, step)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert STEPS not in checkpoints.valid_steps(workdir / "checkpoints"), "killed too late"
    resumed = train(workdir)
    _, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    assert_same_run(workdir, whole)


@pytest.mark.slow  # tests/runs/test_claim.py has a fast one
def test_sigterm_saves_the_step_it_is_at(whole, tmp_path):
    workdir = tmp_path / "run"
    process = train(workdir)
    wait_for_step(process, workdir, 20)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 143
    saved = checkpoints.valid_steps(workdir / "checkpoints")[-1]
    assert f"SIGTERM: saved step {saved} in {workdir}; the same command resumes" in errors
    assert 20 <= saved < STEPS
    resumed = train(workdir, more=["--note", "after the queue was drained"])
    _, errors = resumed.communicate()
    assert f"resumed {workdir} at step {saved}" in errors
    starts, _ = json_lines.read(workdir / "history.jsonl")
    assert [(s["step"], s["note"]) for s in starts] == [
        (0, None),
        (saved, "after the queue was drained"),
    ]
    assert "--note" in starts[1]["argv"] and "--note" not in starts[0]["argv"]
    assert_same_run(workdir, whole)


@pytest.mark.slow
def test_an_evaluation_killed_half_way_is_resumed(whole, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    steps = checkpoints.valid_steps(workdir / "checkpoints")
    table = workdir / "eval" / "fid_metrics.csv"
    arguments = ("--workdir", workdir, "--checkpoints", "all", "--num_samples", 80)
    command = ("tests/one_block.py", "evaluate.py", *arguments, "--skip_existing")
    process = start(*command)
    while process.poll() is None and len(record.read(workdir)) < 3:
        time.sleep(0.002)
    process.kill()
    process.communicate()
    with open(workdir / record.RECORD, "ab") as file:
        file.write(b'{"version": 1, "step": 60, "data_s')  # as if the write itself had been cut
    process = start(*command)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    rows = record.read(workdir)
    assert sorted(row["step"] for row in rows) == steps
    assert (workdir / "eval" / "fid_vs_step.png").stat().st_size > 1000
    before = table.read_bytes()
    _, errors = start(*command).communicate()
    assert table.read_bytes() == before
    assert f"step {steps[0]} is scored already" in errors


@pytest.mark.parametrize(
    "script,arguments,message",
    [
        ("train.py", ["--config", "configs/digits.py", "--config.trian.log_steps=3"], '"train"'),
        (
            "train.py",
            ["--config", "configs/digits.py", "--config.optimizer.learning_rat=3"],
            '"learning_rate"',
        ),
        ("train.py", ["--config", "configs/digit.py"], "did you mean 'configs/digits.py'"),
        ("train.py", ["--config", "configs/cifar10.py:shrt"], "variants: ldf, ldf_no_proj, "),
        ("train.py", ["--config", "configs/mnist.py:large"], "config file has no variants"),
        ("evaluate.py", ["--workdir", "{empty}"], "this is not the workdir of a run"),
        ("sample.py", ["--workdir", "{empty}", "--labels", "three"], "--labels"),
        ("evaluate.py", [], "give either --workdir, or --real and --fake"),
        ("evaluate.py", ["--real", "{empty}", "--fake", "{empty}"], "no images in"),
        ("scripts/fetch_inception.py", ["--from", "{empty}/w.pth"], "no weights at"),
        (
            "scripts/fetch_inception.py",
            ["--from", "configs/digits.py", "--sha256", "6726825d"],
            "expected 6726825d...: it is damaged",
        ),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, script, arguments, message):
    process = start(script, *[a.format(empty=tmp_path) for a in arguments])
    _, errors = process.communicate()
    assert process.returncode == 2
    assert message in errors
    assert "Traceback" not in errors
    assert len(errors.strip().splitlines()) == 1


# --- any generator method on any network that fits -----------------------------------------------

THREE_STEPS = small_runs.LOGGED | {"train.total_steps": 3}
FLOW = {"method.batch_size": 64, "optimizer.warmup_steps": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "config, network, changed, keys",
    [
        ("digits", "unet", RUN, {"size": "nano", "dropout": 0.0, "remat": False}),
        (
            "meanflow_digits",
            "drift_dit",
            FLOW,
            {"size": "nano", "patch_size": 2, "num_registers": 8},
        ),
    ],
)
def test_a_method_trains_on_another_methods_network(
    one_block, tmp_path, config, network, changed, keys
):
    """The name is enough; keys that both networks have keep their values."""
    values = changed | THREE_STEPS | {"model.name": network}
    process = train(tmp_path, config, values, "--xla_backend_optimization_level=0")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    rows = [row for row in workdirs.rows(tmp_path) if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert np.isfinite([row["loss"] for row in rows]).all()
    run = Run(tmp_path)
    assert run.config.model.to_dict() == {"name": network, **keys}
    assert run.sample([0, 1]).shape == (2, 8, 8, 1)


def test_a_network_that_cannot_read_a_needed_condition_is_refused(tmp_path):
    process = train(tmp_path / "run", values={"model.name": "cnn"})
    _, errors = process.communicate()
    assert process.returncode == 2 and len(errors.strip().splitlines()) == 1
    for part in (
        "config.model.name = 'cnn' reads interval, label, time",
        "config.method.form = 'distance'",
        "guidance",
        "drift_dit, drift_dit_latent, unet, dit",
    ):
        assert part in errors
    assert not any((tmp_path / "run").iterdir())

"""train.py, evaluate.py and sample.py as processes: killed, preempted, mistyped."""

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

from drifting.evaluation import record
from drifting.runs.workdir import Run
from drifting.training import checkpoints, writers

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEPS = 60
RUN = {
    "mesh.data": 1,
    "method.num_generated": 4,
    "method.num_positives": 4,
    "method.num_unconditional": 2,
    "train.total_steps": STEPS,
    "train.log_steps": 1,
    "train.sample_steps": STEPS,
    "train.checkpoint_steps": 7,
    "train.steps_per_call": 3,
    "train.tensorboard": False,
}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """start(script, *arguments) -> process with its output in pipes."""
    cache = tmp_path_factory.mktemp("cache")

    def run(script, *arguments):
        environment = {**os.environ, "DRIFTING_CACHE": str(cache), "XLA_FLAGS": ""}
        command = [sys.executable, str(ROOT / script), *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True
        )

    return run


@pytest.fixture(scope="module")
def train(start):
    """train(workdir) -> process of the 60-step run."""

    def run(workdir):
        keys = [f"--config.{key}={value}" for key, value in RUN.items()]
        return start("train.py", "--config", "configs/digits.py", "--workdir", workdir, *keys)

    return run


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """Workdir of the run that nobody interrupts."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    process = train(workdir)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return workdir


def final_state(workdir):
    return jax.device_get(Run(workdir).restore(STEPS)[0])


def wait_for_step(process, workdir, step):
    while process.poll() is None:
        rows = writers.read_metrics(workdir / "metrics.jsonl")
        if rows and rows[-1]["step"] >= step:
            return
        time.sleep(0.002)
    raise AssertionError(f"ended before step {step}: {process.communicate()[1]}")


def assert_same_run(workdir, whole):
    state, expected = final_state(workdir), final_state(whole)
    for part in ("step", "params", "ema_params", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, part), getattr(expected, part))
    rows = writers.read_metrics(workdir / "metrics.jsonl")
    assert [r["step"] for r in rows] == list(range(1, STEPS + 1))


@pytest.mark.slow
@pytest.mark.parametrize("draw", [0, 1, 2])
def test_killed_at_a_random_step_and_resumed(train, whole, tmp_path, draw):
    step = int(np.random.default_rng(draw).integers(1, STEPS - 5))
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


def test_sigterm_saves_the_step_it_is_at(train, whole, tmp_path):
    workdir = tmp_path / "run"
    process = train(workdir)
    wait_for_step(process, workdir, 20)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 143
    saved = checkpoints.valid_steps(workdir / "checkpoints")[-1]
    assert f"SIGTERM: saved step {saved} in {workdir}; the same command resumes" in errors
    assert 20 <= saved < STEPS
    resumed = train(workdir)
    _, errors = resumed.communicate()
    assert f"resumed {workdir} at step {saved}" in errors
    assert_same_run(workdir, whole)


@pytest.mark.slow
def test_an_evaluation_killed_half_way_is_taken_up(start, whole, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    steps = checkpoints.valid_steps(workdir / "checkpoints")
    table = workdir / "eval" / "fid_metrics.csv"
    command = ("evaluate.py", "--workdir", workdir, "--checkpoints", "all", "--num_samples", 80,
               "--skip_existing")  # fmt: skip
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
def test_mistakes_end_in_one_line(start, tmp_path, script, arguments, message):
    process = start(script, *[a.format(empty=tmp_path) for a in arguments])
    _, errors = process.communicate()
    assert process.returncode == 2
    assert message in errors
    assert "Traceback" not in errors
    assert len(errors.strip().splitlines()) == 1


# --- any generator method on any network that fits -----------------------------------------------

THREE_STEPS = {"mesh.data": 1, "train.total_steps": 3, "train.log_steps": 1,
               "train.tensorboard": False}  # fmt: skip


@pytest.mark.parametrize(
    "config, network, changed, keys",
    [
        ("digits", "unet", RUN, {"size": "nano", "dropout": 0.0, "remat": False}),
        ("meanflow_digits", "drift_dit", {"method.batch_size": 64, "optimizer.warmup_steps": 1},
         {"size": "nano", "patch_size": 2, "num_registers": 8}),
    ],
)  # fmt: skip
def test_a_method_trains_on_another_methods_network(
    start, tmp_path, config, network, changed, keys
):
    """By its name alone; keys that both networks have keep their values."""
    values = {**changed, **THREE_STEPS, "model.name": network}
    flags = [f"--config.{key}={value}" for key, value in values.items()]
    process = start("train.py", "--config", f"configs/{config}.py", "--workdir", tmp_path, *flags)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    rows = [row for row in writers.read_metrics(tmp_path / "metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert np.isfinite([row["loss"] for row in rows]).all()
    run = Run(tmp_path)
    assert run.config.model.to_dict() == {"name": network, **keys}
    assert run.sample([0, 1]).shape == (2, 8, 8, 1)


def test_a_network_that_cannot_read_a_needed_condition_is_refused(start, tmp_path):
    process = start("train.py", "--config", "configs/digits.py", "--workdir", tmp_path / "run",
                    "--config.model.name=cnn")  # fmt: skip
    _, errors = process.communicate()
    assert process.returncode == 2 and len(errors.strip().splitlines()) == 1
    for part in (
        "config.model.name = 'cnn' reads interval, label, time",
        "config.method.form = 'distance'",
        "guidance",
        "drift_dit, unet, dit",
    ):
        assert part in errors
    assert not any((tmp_path / "run").iterdir())

"""Runs of the PyTorch loop on digits: what they leave, how they resume, what they refuse."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import small_runs
import workdirs

from drifting.core.errors import UserError
from drifting.suites import RunSpec
from drifting.suites.accuracy import RESULTS, AccuracyTable
from drifting.training import telemetry
from drifting.training.divergence import TrainingDiverged
from input_pipeline import splits

torch = pytest.importorskip("torch")
loop = pytest.importorskip("reference_torch.loop")
checkpoint = pytest.importorskip("reference_torch.checkpoint")

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def config(two_stages):
    """config(**changed) -> that of a run of 12 steps with checkpoints at 0, 4, 8 and 12."""
    return small_runs.classifier


@pytest.fixture(scope="module")
def finished(config, make_once):
    """Read-only workdir of a finished run."""
    return make_once("torch_run", lambda workdir: loop.train(config(), workdir))


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_what_a_run_leaves(finished, finished_classifier):
    found, ours = (json.loads((w / "test.json").read_text())
                   for w in (finished, finished_classifier))  # fmt: skip
    assert found.keys() - ours.keys() == {"framework"} and not ours.keys() - found.keys()
    for key in ("parameters", "trained_steps", "num_images", "split"):
        assert found[key] == ours[key]
    confusion = np.array(found["confusion"])
    assert confusion.sum() == 300 and found["accuracy"] == np.trace(confusion) / 300
    both = [(w / "split.json").read_bytes() for w in (finished, finished_classifier)]
    assert both[0] == both[1]
    scored = {r["step"]: r["val_accuracy"] for r in workdirs.rows(finished) if "val_accuracy" in r}
    assert sorted(scored) == [0, 4, 8, 12]
    best = max(scored, key=lambda step: (scored[step], step))
    assert (found["step"], found["val_accuracy"]) == (best, scored[best])
    names = [{key for row in workdirs.rows(w) for key in row} - {*telemetry.NAMES}
             for w in (finished, finished_classifier)]  # fmt: skip
    assert names[0] == names[1]
    rates = [[r["lr"] for r in workdirs.rows(w) if "lr" in r]
             for w in (finished, finished_classifier)]  # fmt: skip
    np.testing.assert_allclose(*rates, rtol=1e-5)


def test_the_table_reads_both(finished, finished_classifier, tmp_path):
    for name, workdir in (("a", finished_classifier), ("b", finished)):
        (tmp_path / name).mkdir()
        shutil.copy(workdir / "test.json", tmp_path / name)
    labels = dict(data_set="digits", model="m", precision="float32", seed=0)
    digits = "configs/classifier_digits.py"
    runs = [RunSpec("a", digits, labels=labels),
            RunSpec("b", digits, labels=labels, framework="torch")]  # fmt: skip
    table = AccuracyTable(runs, tmp_path)
    assert [set(table.result(run)) for run in runs] == [set(RESULTS)] * 2
    table.write({})
    lines = (tmp_path / "summary.md").read_text().splitlines()
    assert [line.split(" | ")[3] for line in lines[2:4]] == ["jax", "torch"]


def test_a_resumed_run_is_the_run_that_never_stopped(config, finished, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    train_step = loop.Training._train_step

    def dies_at_7(self):
        if self.step == 6:
            raise Killed
        train_step(self)

    monkeypatch.setattr(loop.Training, "_train_step", dies_at_7)
    with pytest.raises(Killed):
        loop.train(config(), tmp_path / "run")
    monkeypatch.undo()
    assert torch.load(checkpoint.path_in(tmp_path / "run"))["step"] == 4
    loop.train(config(), tmp_path / "run")
    states = [torch.load(checkpoint.path_in(w)) for w in (tmp_path / "run", finished)]
    for key, value in states[0]["network"].items():
        torch.testing.assert_close(value, states[1]["network"][key], rtol=0, atol=0)
    results = [json.loads((w / "test.json").read_text()) for w in (tmp_path / "run", finished)]
    assert results[0]["confusion"] == results[1]["confusion"]
    rows = [[(r["step"], r["loss"]) for r in workdirs.rows(w) if "loss" in r]
            for w in (tmp_path / "run", finished)]  # fmt: skip
    assert rows[0] == rows[1] and len(rows[0]) == 12


def test_the_test_is_repeated_if_its_file_is_missing(config, copied):
    before = (copied / "test.json").read_text()
    (copied / "test.json").unlink()
    loop.train(config(), copied)
    assert (copied / "test.json").read_text() == before


def test_training_in_bfloat16(config, tmp_path):
    loop.train(config(**{"precision": "bfloat16", "train.total_steps": 4}), tmp_path)
    assert json.loads((tmp_path / "test.json").read_text())["trained_steps"] == 4


def test_a_loss_that_is_not_finite_ends_the_run(config, tmp_path):
    diverging = {"optimizer.learning_rate": 1e30, "optimizer.clip_norm": 1e30}
    with pytest.raises(TrainingDiverged, match="not finite .* checkpoint is that of step 0"):
        loop.train(config(**diverging), tmp_path)
    assert torch.load(checkpoint.path_in(tmp_path))["step"] == 0


@pytest.mark.parametrize(
    "changed,message",
    [
        ({"ema_decay": 0.9}, "config.ema_decay = 0.9: .* implements only 0.0"),
        ({"model.norm": "group"}, "config.model.norm = 'group'"),
        ({"method.micro_batches": 2}, "config.method.micro_batches = 2"),
        ({"data.num_val": 0}, "config.data.num_val = 0"),
        ({"model.width": 0.3}, "width 0.3 turns 64 channels into 19.2"),
        ({"optimizer.warmup_steps": 12}, "warmup_steps = 12 leaves nothing"),
        ({"method.batch_size": 5000}, "config.method.batch_size = 5000"),
    ],
)
def test_what_is_not_implemented_is_refused(config, tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        loop.train(config(**changed), tmp_path / "run")
    assert not list((tmp_path / "run").glob("*"))


def test_other_workdirs_are_refused(config, copied, finished_classifier, tmp_path):
    with pytest.raises(UserError, match="trained with another model.*config.model.width"):
        loop.train(config(**{"model.width": 0.25}), copied)
    ours = shutil.copytree(finished_classifier, tmp_path / "ours")
    with pytest.raises(UserError, match="holds files but no finished checkpoint"):
        loop.train(config(), ours)
    path = copied / "split.json"
    assert len(splits.read(path).val_indices) == 200
    path.write_text(path.read_text().replace('"seed": 42', '"seed": 43'))
    with pytest.raises(UserError, match="split.json is a split of seed 43"):
        loop.train(config(), copied)
    file = checkpoint.path_in(copied)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="newest.pt is damaged and cannot be resumed"):
        loop.train(config(), copied)


@pytest.mark.slow
def test_a_stopped_command_saves_and_the_same_command_goes_on(tmp_path):
    command = [
        sys.executable, "scripts/reference_torch/train.py",
        "--config", "configs/classifier_digits.py", "--workdir", tmp_path / "run",
        "--config.model.width=0.125", "--config.train.tensorboard=False",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    rows, deadline = tmp_path / "run/metrics.jsonl", time.monotonic() + 120
    while not (rows.exists() and '"step": 50' in rows.read_text()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 143 and "SIGTERM" in errors
    done = subprocess.run(
        [*command, "--config.train.total_steps=80"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "test.json").read_text())["trained_steps"] == 80
    steps = [row["step"] for row in workdirs.rows(tmp_path / "run")]
    assert steps == sorted(steps) and steps[-1] == 80

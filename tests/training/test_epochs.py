"""epochs.jsonl: means over whole epochs, also of a run that was stopped within one."""

import json
import time

import numpy as np
import pytest
import weight_run

from drifting.training import checkpoints, epochs, loop, writers
from drifting.training.schedule import Schedule


def train(workdir, total, method=None):
    """Epochs of 4 steps, calls of 3, checkpoints at multiples of 6; see weight_run."""
    parts = weight_run.parts(total, method, keep_checkpoints=9)
    parts.schedule = Schedule(total, log=5, sample=99, checkpoint=6, per_call=3, per_epoch=4.0)
    loop.train(parts, workdir)
    return writers.read_metrics(workdir / "epochs.jsonl")


def mean_loss(first, last):
    """Of the steps from `first` to `last`, counted from 1: weights decay by a tenth in each."""
    return pytest.approx(np.mean([3 * 0.81 ** (step - 1) for step in range(first, last + 1)]))


def saved(workdir, step):
    return json.loads((workdir / "checkpoints" / str(step) / checkpoints.METRICS).read_bytes())


@pytest.mark.parametrize("lengths", [(10,), (6, 10), (5, 7, 10), (8, 10)])
def test_means_over_each_epoch_however_the_run_was_stopped(tmp_path, lengths):
    for total in lengths:
        rows = train(tmp_path, total)
    assert [(r["epoch"], r["step"], r["num_batches"]) for r in rows] == [(1, 4, 4), (2, 8, 4)]
    assert [r["avg_loss"] for r in rows] == [mean_loss(1, 4), mean_loss(5, 8)]
    assert rows[0]["avg_grad_norm"] == pytest.approx(np.mean(3**0.5 * 0.9 ** np.arange(4)))
    for row in rows:
        assert row["seconds"] == pytest.approx(4 * row["avg_step_ms"] / 1000)
    assert (saved(tmp_path, 6)["num_batches"], saved(tmp_path, 6)["avg_loss"]) == (
        2, mean_loss(5, 6),
    )  # fmt: skip
    assert (saved(tmp_path, 10)["num_batches"], saved(tmp_path, 10)["avg_loss"]) == (
        2, mean_loss(9, 10),
    )  # fmt: skip
    assert "num_batches" not in saved(tmp_path, 0)


def test_an_epoch_that_is_trained_again_has_one_row(tmp_path):
    train(tmp_path, 10)
    checkpoints._remove(tmp_path / "checkpoints" / "10")
    assert [row["epoch"] for row in train(tmp_path, 12)] == [1, 2, 3]


def test_seconds_are_those_of_steps_without_scoring(tmp_path, monkeypatch):
    monkeypatch.setattr(loop.Trainer, "score_newest", lambda *_: time.sleep(0.5))
    rows = train(tmp_path, 8)
    assert sum(row["seconds"] for row in rows) < 0.5


def test_another_config_with_other_metrics_begins_the_means_anew():
    schedule = Schedule(99, 99, 99, 99, 99, per_epoch=4.0)
    epoch = epochs.Epoch(schedule, 2, {"num_batches": 2, "avg_loss": 1.0, "avg_step_ms": 5.0})
    assert not epoch.add({"loss": 6.0, "lr": 0.1}, 1, 0.005, 3)
    assert epoch.means() == pytest.approx({"num_batches": 3, "avg_loss": 8 / 3, "avg_step_ms": 5.0})
    assert epoch.add({"loss": 2.0, "spread": 7.0}, 1, 0.005, 4)
    assert epoch.row(4) == pytest.approx(
        {"epoch": 1, "seconds": 0.005, "num_batches": 1, "avg_loss": 2.0, "avg_spread": 7.0,
         "avg_step_ms": 5.0}
    )  # fmt: skip

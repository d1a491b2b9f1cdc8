"""The numbers of the test split are written before the picture of them."""

import json
import types

import numpy as np
import pytest

from drifting import pictures
from drifting.runs import train
from drifting.training import validation
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Pixels

COUNTS = np.array([[3, 1], [0, 4]])


@pytest.fixture
def tested(tmp_path, monkeypatch):
    """tested() -> the content of test.json of a run that need not be trained."""
    (tmp_path / "metrics.jsonl").write_text('{"step": 4, "epoch_seconds": 1.5}\n')
    state = types.SimpleNamespace(params={"w": np.zeros(6)})
    run = types.SimpleNamespace(
        best_step=lambda: 4,
        restore=lambda step: (state, {"val_loss": 0.5}),
        at=lambda step: run,
        restore_best=lambda: (state, {"val_loss": 0.5}, 4),
        method=types.SimpleNamespace(scores=lambda sums: {"accuracy": 0.875}),
        config=types.SimpleNamespace(eval=types.SimpleNamespace(batch_size=8)),
    )
    monkeypatch.setattr(train, "Run", lambda workdir: run)
    sums = types.SimpleNamespace(sums=lambda state: {"confusion": COUNTS})
    monkeypatch.setattr(validation, "Validation", lambda *_: sums)
    images = np.zeros((8, 2, 2, 1), np.uint8)
    labels = np.zeros(8, np.int32)
    held = ImageSet(images, labels, ("a", "b"), "made", "test", Pixels((2, 2, 1)))

    def test():
        train._test(tmp_path, held, 4)
        return json.loads((tmp_path / "test.json").read_text())

    return test


def test_a_picture_that_fails_is_a_warning(tested, tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise ValueError("too many classes")

    monkeypatch.setattr(pictures, "plot_confusion", fail)
    found = tested()
    assert found["accuracy"] == 0.875 and found["confusion"] == COUNTS.tolist()
    assert found["val_loss"] == 0.5 and found["num_images"] == 8
    assert "confusion.png was not drawn: ValueError: too many classes" in caplog.text


def test_the_numbers_are_there_when_the_picture_is_drawn(tested, tmp_path, monkeypatch):
    there = []
    monkeypatch.setattr(
        pictures, "plot_confusion", lambda *_: there.append((tmp_path / "test.json").exists())
    )
    tested()
    assert there == [True]

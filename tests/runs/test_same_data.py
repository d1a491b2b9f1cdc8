"""A run continues on the data that it began with: the same pixels anywhere, and no others."""

import json
import logging
import shutil

import numpy as np
import pytest

import drifting
from drifting.core import config as config_lib
from drifting.core.errors import ConfigError
from drifting.runs import evaluate, same_data
from drifting.runs.build import build
from drifting.runs.records import record
from drifting.runs.sampled import InTraining
from drifting.training import checkpoints
from input_pipeline.sources import DataError


def save(folder, grey=60, count=80, classes=4):
    folder.mkdir(exist_ok=True)
    images = np.full((count, 8, 8, 1), grey, np.uint8)
    np.save(folder / "train_images.npy", images)
    np.save(folder / "train_labels.npy", np.arange(count) % classes)


@pytest.fixture
def config(small_config, tmp_path):
    """config(**changed) -> that of a run on `tmp_path / "data"`."""
    save(tmp_path / "data")
    source = {"data.source": f"npy:{tmp_path / 'data'}"}
    return lambda **changed: small_config(**source | changed)


@pytest.fixture
def workdir(config, tmp_path, monkeypatch):
    """What such a run has written, but for the contents of its checkpoint."""
    monkeypatch.setattr(checkpoints, "valid_steps", lambda folder: [4])
    monkeypatch.setattr(checkpoints, "is_resumable", lambda folder: True)
    (tmp_path / "run").mkdir()
    record(tmp_path / "run", build(config_lib.resolve(config())))
    return tmp_path / "run"


def test_a_translation_is_not_continued_in_reverse(config, workdir, tmp_path):
    values = np.arange(80, dtype=np.uint8).reshape(80, 1, 1, 1)
    np.save(tmp_path / "data" / "train_images.npy", np.tile(values, (1, 8, 8, 1)))
    sides = [f"npy:{tmp_path / 'data'}#{label}" for label in (0, 1)]
    first, reverse = (
        config(**{"data.source": f"unpaired:{a},{b}"}) for a, b in (sides, sides[::-1])
    )
    record(workdir, build(config_lib.resolve(first)))
    with pytest.raises(DataError, match="the classes are in another order"):
        drifting.train(reverse, workdir)


@pytest.mark.parametrize(
    "changed,said",
    [
        (dict(grey=190), "as many samples, but other values or labels"),
        (dict(count=84), "80 -> 84 samples"),
        (dict(count=84, classes=3), "gone: ..3.., new: .*choose another --workdir$"),
    ],
)
def test_other_data_are_refused_and_nothing_is_written(config, workdir, tmp_path, changed, said):
    before = (workdir / "config.json").read_bytes()
    save(tmp_path / "data", **changed)
    with pytest.raises(DataError, match=f"run was trained on other data than npy:.*: .*{said}"):
        drifting.train(config(), workdir)
    assert (workdir / "config.json").read_bytes() == before
    assert sorted(p.name for p in workdir.iterdir()) == [".lock", "config.json", "history.jsonl"]


def test_another_limit_is_other_data(config, workdir, monkeypatch):
    before = (workdir / "config.json").read_bytes()
    with pytest.raises(ConfigError, match="another model, data .*: config.data.limit: 0 -> 40"):
        drifting.train(config(**{"data.limit": 40}), workdir)
    monkeypatch.setattr(config_lib, "FIXED", ())  # as for a run from before the key was added
    with pytest.raises(DataError, match="trained on other data than .*: 80 -> 40 samples"):
        drifting.train(config(**{"data.limit": 40}), workdir)
    assert (workdir / "config.json").read_bytes() == before


def test_new_data_are_accepted_by_an_explicit_flag(config, workdir, tmp_path, caplog):
    save(tmp_path / "data", grey=190)
    with pytest.raises(DataError, match="with --accept_new_data$"):
        drifting.train(config(), workdir)
    parts = build(config())
    with caplog.at_level(logging.WARNING, logger="drifting"):
        same_data.require(workdir, parts, accept=True)
    assert "continuing on the new data" in caplog.text
    save(tmp_path / "data", classes=5)
    with pytest.raises(DataError, match="new: ..4.."):  # labels mean other classes
        same_data.require(workdir, build(config()), accept=True)


def test_the_same_data_may_move(config, workdir, tmp_path):
    shutil.copytree(tmp_path / "data", tmp_path / "moved")
    shutil.rmtree(tmp_path / "data")
    moved = config(**{"data.source": f"npy:{tmp_path / 'moved'}"})
    saved, _ = config_lib.read(workdir / "config.json")
    assert "config.data.source" in config_lib.check_resume(saved, config_lib.resolve(moved))[0]
    same_data.require(workdir, build(moved), accept=False)


def test_a_stream_is_compared_too(config, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "valid_steps", lambda folder: [4])
    monkeypatch.setattr(checkpoints, "is_resumable", lambda folder: True)
    streamed = config(**{"data.streaming": True, "method.queue_size": 8, "method.queue_push": 16})
    record(tmp_path, build(streamed))
    same_data.require(tmp_path, build(streamed), accept=False)
    save(tmp_path / "data", grey=61)
    with pytest.raises(DataError, match="other values or labels"):
        same_data.require(tmp_path, build(streamed), accept=False)


def test_a_run_of_an_earlier_version_says_that_it_cannot_be_checked(config, workdir, caplog):
    values = json.loads((workdir / "config.json").read_text())
    values["data_fingerprint"] = "0" * 20
    (workdir / "config.json").write_text(json.dumps(values))
    with caplog.at_level(logging.WARNING, logger="drifting"):
        same_data.require(workdir, build(config()), accept=False)
    assert "cannot be checked this time" in caplog.text


def test_a_new_split_is_made_for_accepted_data(small_classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "valid_steps", lambda folder: [4])
    monkeypatch.setattr(checkpoints, "is_resumable", lambda folder: True)
    save(tmp_path / "data")
    config = small_classifier(**{"data.source": f"npy:{tmp_path / 'data'}", "data.num_val": 20})
    (tmp_path / "run").mkdir()
    record(tmp_path / "run", build(config))
    (tmp_path / "run" / "split.json").write_text("the old rows")
    save(tmp_path / "data", grey=190)
    same_data.require(tmp_path / "run", build(config), accept=True)
    assert not (tmp_path / "run" / "split.json").exists()


def test_scores_against_other_data_than_those_of_training_say_so(
    config, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(evaluate.scorer, "make_scorers", lambda run, images, *rest: images)
    parts = build(config(**{"eval.metrics": ("fid",)}))
    run = InTraining(tmp_path, parts)
    run.data_fingerprint = parts.whole.fingerprint
    with caplog.at_level(logging.WARNING, logger="drifting"):
        evaluate._scorers(run)
        assert "other samples or labels" not in caplog.text
        save(tmp_path / "data", grey=190)
        evaluate._scorers(run)
    assert "data holds other samples or labels than" in caplog.text

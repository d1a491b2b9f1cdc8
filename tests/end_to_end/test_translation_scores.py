"""Translations of one domain are scored against the other one, in training and afterwards."""

import numpy as np
import pytest
import stub_translator
from PIL import Image

import drifting
from drifting.core.errors import ConfigError
from drifting.evaluation import record
from drifting.evaluation.metrics.frechet import frechet_distance
from drifting.evaluation.moments import Moments
from drifting.runs.evaluate import feature_function
from input_pipeline.decoding import DataError
from input_pipeline.space import Pixels


@pytest.fixture
def run(monkeypatch, tmp_path):
    """run(test=True, target=132, **values by dotted key) -> workdir of a trained run."""

    def train(test=True, target=132, **changed):
        stub_translator.make_data(tmp_path / "data.npz", target, test)
        config = stub_translator.config(monkeypatch, tmp_path / "data.npz", **changed)
        drifting.train(config, tmp_path / "run")
        return tmp_path / "run"

    return train


def translated(workdir, step, prefix=""):
    """The inputs of a split, their translations at a step, and the target domain, in float64."""
    with np.load(workdir.parent / "data.npz") as arrays:
        images, labels = arrays[f"{prefix}images"], arrays[f"{prefix}labels"]
    inputs = images[labels == 0]
    outputs = np.minimum(inputs.astype(float) + step * stub_translator.LEVELS, 255.0)
    return [x.reshape(len(x), -1) / 255.0 for x in (inputs, outputs, images[labels == 1])]


def expected(workdir, step, prefix=""):
    """The Frechet distance and the content score, by their formulas."""
    inputs, outputs, target = translated(workdir, step, prefix)
    of = [Moments(len(x), x.mean(axis=0), np.cov(x, rowvar=False)) for x in (target, outputs)]
    lengths = np.linalg.norm(inputs, axis=1) * np.linalg.norm(outputs, axis=1)
    return frechet_distance(*of), np.mean((inputs * outputs).sum(axis=1) / lengths)


def test_translations_of_images_not_trained_on_are_scored(run, caplog):
    workdir = run()
    with caplog.at_level("INFO", logger="drifting"):
        drifting.evaluate(workdir)
    (row,) = record.read(workdir)
    assert (row["split"], row["num_samples"], row["sampler"]) == ("test", 12, "translation")
    assert (row["cfg_scale"], row["nfe"], row["step"]) == (1.0, 1, 8)
    distance, content = expected(workdir, 8, "test_")
    np.testing.assert_allclose(row["frechet_distance"], distance, rtol=1e-4)
    np.testing.assert_allclose(row["content"], content, rtol=1e-6)
    assert "scores of split 'test': 12 images of '0', translated, against 10 of '1'" in caplog.text


def test_without_such_images_those_trained_on_are_scored(run, caplog):
    workdir = run(test=False)
    with caplog.at_level("INFO", logger="drifting"):
        drifting.evaluate(workdir)
    (row,) = record.read(workdir)
    assert (row["split"], row["num_samples"]) == ("train", 14)
    np.testing.assert_allclose(row["frechet_distance"], expected(workdir, 8)[0], rtol=1e-4)
    assert "scores are of the images that were trained on: " in caplog.text
    assert "has no split 'test'" in caplog.text
    with pytest.raises(DataError, match="no split 'test'"):
        drifting.evaluate(workdir, split="test")


def test_a_split_and_a_number_can_be_asked_for(run):
    workdir = run(**{"train.keep_checkpoints": 9})
    drifting.evaluate(workdir, "2,8", split="train", num_samples=6)
    rows = record.read(workdir)
    assert [(r["step"], r["split"], r["num_samples"]) for r in rows] == [
        (2, "train", 6), (8, "train", 6)]  # fmt: skip


@pytest.mark.slow
def test_content_is_compared_in_the_features_asked_for(run, finished_classifier):
    workdir, name = run(), f"encoder:{finished_classifier}"
    drifting.evaluate(workdir, features=name, metrics=["fid", "content"])
    (row,) = record.read(workdir)
    function = feature_function(name, Pixels((8, 8, 1)), "clean")
    inputs, outputs, _ = translated(workdir, 8, "test_")
    first, second = (
        np.asarray(function.apply(np.rint(255 * x).astype(np.uint8).reshape(-1, 8, 8, 1)).features)
        for x in (inputs, outputs)
    )
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    expected = np.mean((first * second).sum(axis=1) / lengths)
    assert row["features"] == name and expected < 0.999
    np.testing.assert_allclose(row["content"], expected, rtol=1e-5)


def test_the_preview_shows_inputs_above_their_translations(run, tmp_path):
    workdir = run()
    drifting.evaluate(workdir, save_samples=True)
    (folder,) = (workdir / "eval" / "artifacts").iterdir()
    assert "ema_translation_cfg1" in folder.name
    assert len(list((folder / "samples").iterdir())) == 12
    picture = np.asarray(Image.open(folder / "preview.png").convert("L"), float)
    # One pair of rows of ten images. Each pixel is a square of 5; the gaps are white.
    upper, lower = np.split(picture[1:], 2)
    tiles = [half[:40, -411 + 1 :] for half in (upper, lower)]
    first, second = (tile[:40, :40].reshape(8, 5, 8, 5).mean(axis=(1, 3)) for tile in tiles)
    inputs, outputs, _ = translated(workdir, 8, "test_")
    (place,) = np.flatnonzero(np.abs(inputs * 255 - first.reshape(-1)).max(axis=1) < 0.5)
    np.testing.assert_allclose(second.reshape(-1), 255 * outputs[place], atol=0.5)


def test_guidance_and_samplers_are_refused(run, tmp_path):
    workdir = run(**{"train.total_steps": 2})
    with pytest.raises(ConfigError, match="a translator has no guidance, so cfg_scale must be 1"):
        drifting.evaluate(workdir, cfg_scales=[1.5])
    with pytest.raises(ConfigError, match="a translator has no --sampler"):
        drifting.evaluate(workdir, sampler="euler")


def test_each_checkpoint_is_scored_in_training(run):
    workdir = run(**{"train.evaluate": True, "train.keep_checkpoints": 9})
    rows = record.read(workdir)
    assert [(r["step"], r["split"]) for r in rows] == [(s, "test") for s in (0, 2, 4, 6, 8)]
    assert rows[0]["content"] == 1.0  # the first translations are the inputs
    for row in rows[1:]:
        distance, content = expected(workdir, row["step"], "test_")
        np.testing.assert_allclose(row["frechet_distance"], distance, rtol=1e-4)
        np.testing.assert_allclose(row["content"], content, rtol=1e-6)

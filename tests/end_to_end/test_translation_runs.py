"""A hundred images of mixed sizes through sample.py --translate, killed, resumed and scored."""

import os
import pathlib
import subprocess
import sys
import time

import inverting_translator
import numpy as np
import pytest
from picture_files import pixels
from PIL import Image

import drifting
from drifting import methods
from drifting.evaluation.metrics.frechet import frechet_distance
from drifting.evaluation.moments import Moments

ROOT = pathlib.Path(__file__).resolve().parents[2]
COUNT, BAD = 100, "37.png"


@pytest.fixture
def run(train_once, monkeypatch):
    monkeypatch.setitem(methods.METHODS, inverting_translator.NAME, inverting_translator.CLASS)
    return train_once(inverting_translator.config())


@pytest.fixture
def photos(tmp_path):
    """A hundred files of up to 16x16 pixels, of which one is no image."""
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(COUNT):
        image = generator.integers(0, 256, (*generator.integers(1, 17, 2), 3), np.uint8)
        Image.fromarray(image).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "photos" / BAD).write_bytes(b"\x89PNG\r\n\x1a\nbut no image")
    return tmp_path / "photos"


def start(*flags):
    command = [sys.executable, "-c", inverting_translator.LAUNCH, "sample.py", *map(str, flags)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def written(out):
    """The time of the last change of each translation, by name."""
    found = out.glob("[!.]*") if out.exists() else []
    return {path.name: path.stat().st_mtime_ns for path in found}


def test_killed_and_resumed_with_one_corrupt_file(run, photos, tmp_path):
    out = tmp_path / "out"
    flags = "--workdir", run, "--translate", photos, "--out", out, "--batch_size", 2
    killed = start(*flags)
    while killed.poll() is None and len(written(out)) < 10:
        time.sleep(0.002)
    killed.kill()
    killed.communicate()
    before = written(out)
    assert killed.returncode == -9 and 10 <= len(before) < COUNT - 1

    resumed = start(*flags)
    _, errors = resumed.communicate()
    assert resumed.returncode == 2, errors
    missing = COUNT - 1 - len(before)
    assert f"{missing} of 100 images to translate, {len(before)} are done; compilations:" in errors
    *_, last = errors.strip().splitlines()
    assert last.startswith(f"error: 1 of 100 images were skipped: {photos / BAD}; the lines above")
    after = written(out)
    assert before.items() <= after.items()
    assert sorted(os.listdir(out)) == sorted(after) == sorted({*os.listdir(photos)} - {BAD})
    for name in after:
        expected = inverting_translator.expected(pixels(photos / name))
        np.testing.assert_array_equal(pixels(out / name), expected)


def test_translations_are_scored_against_a_folder(run, tmp_path):
    """By FID and MiFID as their formulas say; copies of real images have no distance from them."""
    real, inputs = np.random.default_rng(0).integers(0, 256, (2, 60, 4, 4, 3), np.uint8)
    inputs[:, ::2] //= 4
    for name, images in (("real", real), ("photos", inputs)):
        (tmp_path / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / name / f"{i}.png")
    out = drifting.translate(run, tmp_path / "photos", tmp_path / "out")
    given = dict(features="pixels", metrics=["fid", "mifid"])
    row = drifting.compare(tmp_path / "real", out, **given)

    fake = np.stack([inverting_translator.expected(image) for image in inputs])
    x, y = (images.reshape(60, 48) / 255 for images in (real, fake))
    of = [Moments(60, z.mean(axis=0), np.cov(z, rowvar=False)) for z in (x, y)]
    unit = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y)]
    nearest = np.mean(1 - (unit[1] @ unit[0].T).max(axis=1))
    distance = frechet_distance(*of)
    assert row["frechet_distance"] == pytest.approx(distance, rel=1e-5)
    assert row["memorization_distance"] == pytest.approx(nearest, rel=1e-4)
    expected = distance / (nearest + 1e-14) if nearest < 0.1 else distance
    assert row["mifid"] == pytest.approx(expected, rel=1e-4)
    same = drifting.compare(out, out, **given)
    assert same["frechet_distance"] == pytest.approx(0, abs=1e-9)


def test_translations_are_scored_by_the_features_of_a_classifier(
    run, finished_classifier, tmp_path
):
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "photos" / f"{i}.png")
    out = drifting.translate(run, tmp_path / "photos", tmp_path / "out")
    given = dict(features=f"encoder:{finished_classifier}", metrics=["fid", "mifid"])
    row = drifting.compare(tmp_path / "photos", out, **given)
    assert row["features"].startswith("encoder:") and row["num_fake"] == 12
    assert row["frechet_distance"] > 0.01 and row["mifid"] >= row["frechet_distance"]
    assert drifting.compare(out, out, **given)["frechet_distance"] == pytest.approx(0, abs=1e-6)

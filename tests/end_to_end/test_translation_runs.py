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
    """Inverted inputs, moved by one pixel, are far from the inputs and near other inverted ones."""
    generator = np.random.default_rng(0)
    images = (generator.beta(2, 6, (3, 60, 4, 4, 3)) * 255).astype(np.uint8)
    for name, values in zip(("photos", "real", "other"), images, strict=True):
        (tmp_path / name).mkdir()
        for i, image in enumerate(255 - values if name == "real" else values):
            Image.fromarray(image).save(tmp_path / name / f"{i}.png")
    out = drifting.translate(run, tmp_path / "photos", tmp_path / "out")
    given = dict(features="pixels", metrics=["fid", "mifid"])
    near = drifting.compare(tmp_path / "real", out, **given)
    far = drifting.compare(tmp_path / "other", out, **given)
    # All values are independent: the distance is that of 48 means, and little more.
    means = [values.reshape(60, 48).mean(0) / 255 for values in (images[2], 255 - images[0])]
    assert far["frechet_distance"] == pytest.approx(np.sum(np.square(means[0] - means[1])), rel=0.1)
    assert near["frechet_distance"] < far["frechet_distance"] / 8
    assert near["mifid"] > 0 and far["mifid"] > 0

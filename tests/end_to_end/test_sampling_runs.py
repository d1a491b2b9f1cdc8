"""Samples of a finished run: their forms, what they depend on, and what is refused."""

import logging

import numpy as np
import pytest
import workdirs
from PIL import Image

import drifting
from drifting.runs.workdir import WorkdirError


def sample(workdir, num, out, **changed):
    given = dict(labels=None, cfg_scale=None, batch_size=None, seed=42, ema=True)
    return drifting.sample(workdir, num, out, **given | changed)


def test_three_forms_of_samples(run_copy, tmp_path):
    with np.load(sample(run_copy, 25, tmp_path / "x.npz")) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    assert images.shape == (25, 8, 8, 1) and images.dtype == np.uint8
    assert labels.dtype == np.int32
    counts = np.bincount(labels, minlength=10)
    assert counts.max() - counts.min() <= 1

    folder = sample(run_copy, 25, tmp_path / "folder")
    files = sorted(folder.iterdir())
    assert [f.name for f in files[:2]] == ["000000_0.png", "000001_1.png"]
    stacked = np.stack([np.asarray(Image.open(f)) for f in files])
    np.testing.assert_array_equal(stacked, images[..., 0])

    grid = Image.open(sample(run_copy, 25, tmp_path / "x.png"))
    assert grid.width > grid.height
    assert sample(run_copy, 4, None) == run_copy / "samples.png"


def test_what_samples_depend_on(finished_run, tmp_path):
    def images(**changed):
        with np.load(sample(finished_run, 12, tmp_path / "x.npz", **changed)) as arrays:
            return arrays["images"], arrays["labels"]

    plain, _ = images()
    np.testing.assert_array_equal(images()[0], plain)
    for changed in (dict(seed=1), dict(ema=False)):
        assert np.any(images(**changed)[0] != plain), changed
    _, labels = images(labels=[0, 3, 7])
    np.testing.assert_array_equal(labels, [0, 3, 7] * 4)


def test_sampling_passes_over_a_damaged_checkpoint(run_copy, tmp_path, caplog):
    workdirs.truncate_newest_checkpoint(run_copy)
    with caplog.at_level(logging.INFO, logger="drifting"):
        sample(run_copy, 4, tmp_path / "x.png")
    assert "12 cannot be used" in caplog.text
    assert "4 samples of step 8" in caplog.text
    assert (run_copy / "checkpoints" / "12").is_dir(), "a reader moves nothing"


def test_samples_that_cannot_be_made(finished_run, tmp_path):
    with pytest.raises(WorkdirError, match=r"labels \[10\]: the run has 10 classes"):
        sample(finished_run, 4, tmp_path / "x.png", labels=[3, 10])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "000000_3.png").touch()
    with pytest.raises(WorkdirError, match="is not empty"):
        sample(finished_run, 4, tmp_path / "full")
    with pytest.raises(WorkdirError, match="cannot write --out"):
        sample(finished_run, 4, tmp_path / "full" / "000000_3.png" / "x.npz")

"""Samples in the form that a path asks for."""

import numpy as np
import pytest
from picture_files import pixels

from drifting.pictures import save_samples
from input_pipeline.space import Pixels, Points


def test_points_are_saved_in_the_form_that_is_asked_for(tmp_path, figures):
    points = np.float32([[0.5, -2.0], [1.0, 3.0], [7.0, 0.0]])
    for out, file in (("x.png", "x.png"), ("x.npz", "x.npz"), ("folder", "folder/points.npz")):
        save_samples(points, [2, 0, 1], Points((2,)), tmp_path / "new" / out, points)
        assert (tmp_path / "new" / file).is_file()
        if file.endswith(".npz"):
            with np.load(tmp_path / "new" / file) as arrays:
                assert sorted(arrays) == ["labels", "points"]
                np.testing.assert_array_equal(arrays["points"], points)
                assert arrays["points"].dtype == np.float32 and arrays["labels"].dtype == np.int32
    assert len(figures) == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_saved_in_the_form_that_is_asked_for(tmp_path, channels):
    space = Pixels((4, 4, channels))
    images = np.random.default_rng(0).integers(0, 256, (12, *space.shape), np.uint8)
    labels = np.arange(12) % 5
    for out in ("x.png", "x.npz", "folder"):
        save_samples(images, labels, space, tmp_path / "new" / out)
    assert pixels(tmp_path / "new" / "x.png").shape[1] >= 400
    with np.load(tmp_path / "new" / "x.npz") as arrays:
        assert sorted(arrays) == ["images", "labels"]
        np.testing.assert_array_equal(arrays["images"], images)
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 12
    last = pixels(tmp_path / "new" / "folder" / "000011_1.png")
    np.testing.assert_array_equal(last.reshape(space.shape), images[11])

"""The suffix of a path, in any case, is the format of the picture that is written there."""

import numpy as np
import pytest
from PIL import Image

from drifting import pictures
from drifting.pictures import film, formats, grids
from input_pipeline.space import Pixels, Points

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), np.uint8)


def saved(path, samples, space):
    pictures.save_samples(samples, np.zeros(len(samples), int), space, path)
    with Image.open(path) as picture:
        return picture.format, np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.jpg", "a.Jpeg", "a.webp", "a.WEBP"])
def test_a_grid_and_a_scatter_plot(tmp_path, name):
    kind = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}[name[2:].lower()]
    assert pictures.form_of(name) == "picture"
    found, grid = saved(tmp_path / name, IMAGES, Pixels((4, 4, 3)))
    wanted = np.asarray(pictures.grid_picture(grids.in_rows(IMAGES, 10)))
    assert found == kind and grid.shape == wanted.shape
    assert np.abs(grid - wanted).max() <= (30 if kind == "JPEG" else 0)
    found, plot = saved(tmp_path / name, np.float32([[0, 1], [1, 0]]), Points((2,)))
    assert found == kind and plot[0, 0].tolist() == [255] * 3 and plot.min() < 100


def test_arrays_and_folders(tmp_path):
    forms = {"a.NPZ": "arrays", "a.npz": "arrays", "a": "folder", "v1.2": "folder"}
    assert {name: pictures.form_of(tmp_path / name) for name in forms} == forms
    pictures.save_samples(IMAGES, np.zeros(12, int), Pixels((4, 4, 3)), tmp_path / "a.NPZ")
    with np.load(tmp_path / "a.NPZ") as arrays:
        np.testing.assert_array_equal(arrays["images"], IMAGES)


def test_what_cannot_be_written_is_refused_in_one_line(tmp_path):
    with pytest.raises(formats.PictureError, match=r"a\.pdf: pictures are saved as .png, .jpg, .j"):
        pictures.save_grid(IMAGES[None, :2], tmp_path / "a.pdf")
    with pytest.raises(formats.PictureError, match=r"a\.webp cannot be written: .*; choose .png"):
        grids.save_picture(Image.new("L", (16_384, 1)), tmp_path / "a.webp")  # one too many
    assert not list(tmp_path.iterdir())


def test_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    film.save_frames(frames, tmp_path / "a.GIF", 100)
    with Image.open(tmp_path / "a.GIF") as picture:
        assert picture.format == "GIF" and picture.n_frames == 2

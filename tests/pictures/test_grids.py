"""Grids: every pixel in its place, headings outside the images."""

import numpy as np
import pytest
from picture_files import pixels

from drifting.pictures import grid_picture, save_grid


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_shows_every_pixel_in_its_place(tmp_path, channels):
    images = np.random.default_rng(0).integers(0, 255, (2, 3, 8, 8, channels), np.uint8)
    save_grid(images, tmp_path / "grid.png")
    shown = pixels(tmp_path / "grid.png")
    scale = 17  # ceil(400 / (3 * 8))
    gap = (shown.shape[1] - 3 * 8 * scale) // 4
    assert shown.shape == (2 * 8 * scale + 3 * gap, 3 * 8 * scale + 4 * gap, 3)
    assert 1 <= gap <= 6
    for row in range(2):
        for column in range(3):
            top = gap + row * (8 * scale + gap)
            left = gap + column * (8 * scale + gap)
            tile = shown[top : top + 8 * scale, left : left + 8 * scale]
            expected = images[row, column].repeat(scale, 0).repeat(scale, 1)
            np.testing.assert_array_equal(tile, np.broadcast_to(expected, tile.shape))
    assert (shown[:gap] == 255).all() and (shown[:, -gap:] == 255).all()


def test_large_images_are_not_enlarged(tmp_path):
    save_grid(np.zeros((1, 2, 256, 256, 3), np.uint8), tmp_path / "grid.png")
    assert 512 < pixels(tmp_path / "grid.png").shape[1] < 560


def test_a_grid_is_as_wide_as_it_is_asked_to_be():
    images = np.zeros((1, 3, 8, 8, 1), np.uint8)
    widths = [grid_picture(images, width=width).width for width in (48, 49, 300)]
    assert widths == [48 + 4, 72 + 4, 312 + 4 * 4]  # and four gaps


def test_headings_stand_outside_the_images(tmp_path):
    images = np.zeros((2, 3, 8, 8, 1), np.uint8)
    save_grid(images, tmp_path / "plain.png")
    save_grid(images, tmp_path / "grid.png", ["real", "sample"], ["a", "b", "c"])
    plain, shown = pixels(tmp_path / "plain.png"), pixels(tmp_path / "grid.png")
    height, width = plain.shape[:2]
    np.testing.assert_array_equal(shown[-height:, -width:], plain)
    above, beside = shown[:-height], shown[:, :-width]
    assert above.min() < 128 and beside.min() < 128  # ink


def test_grids_that_cannot_be_drawn_are_refused(tmp_path):
    path = tmp_path / "grid.png"
    with pytest.raises(ValueError, match="C = 1 or 3"):
        save_grid(np.zeros((1, 1, 8, 8, 4), np.uint8), path)
    with pytest.raises(ValueError, match="uint8"):
        save_grid(np.zeros((1, 1, 8, 8, 1)), path)
    with pytest.raises(ValueError, match="1 headings for 2"):
        save_grid(np.zeros((2, 1, 8, 8, 1), np.uint8), path, ["one"])
    assert not path.exists()

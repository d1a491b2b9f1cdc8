"""Differentiable augmentation: what each part does to an image and to a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.losses import diff_augment

KEY = jax.random.key(0)
IMAGES = jax.random.uniform(jax.random.key(1), (8, 16, 16, 3), minval=-1.0)
NAMES = jnp.arange(1.0, 257.0).reshape(1, 16, 16, 1).repeat(64, axis=0)  # one number per pixel


def test_the_colour_of_an_image_is_scaled_about_its_means():
    found = np.asarray(diff_augment.color(KEY, IMAGES))
    x = np.asarray(IMAGES)
    shift = (found - x).mean(axis=(1, 2, 3))  # the other two changes keep the mean
    assert np.abs(shift).max() <= 0.5 and len(set(shift.tolist())) == 8
    contrast = _slopes(x.mean(axis=-1), found.mean(axis=-1))
    assert contrast.min() >= 0.5 and contrast.max() <= 1.5
    centred = [a - a.mean(axis=-1, keepdims=True) for a in (x, found)]
    saturation = _slopes(*centred) / contrast
    assert saturation.min() >= 0.0 and saturation.max() <= 2.0
    mean, grey = x.mean(axis=(1, 2, 3), keepdims=True), x.mean(axis=-1, keepdims=True)
    shift, contrast, saturation = (a.reshape(8, 1, 1, 1) for a in (shift, contrast, saturation))
    expected = mean + shift + contrast * (grey - mean + saturation * (x - grey))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def _slopes(x, y):
    """Of each image, the factor that takes x to y, up to a constant."""
    x, y = (a.reshape(len(a), -1) - a.reshape(len(a), -1).mean(axis=1)[:, None] for a in (x, y))
    return (x * y).sum(axis=1) / (x * x).sum(axis=1)


def test_a_translation_moves_by_at_most_an_eighth_over_zeros():
    found = np.asarray(diff_augment.translate(KEY, NAMES))
    whole = np.pad(np.asarray(NAMES[0, ..., 0]), 2)
    windows = {(i, j): whole[i : i + 16, j : j + 16] for i in range(5) for j in range(5)}
    moves = [
        [move for move, window in windows.items() if np.array_equal(image[..., 0], window)]
        for image in found
    ]
    assert all(len(move) == 1 for move in moves)
    assert len({move[0] for move in moves}) > 15  # of 25, in 64 images


def test_a_cutout_is_the_part_of_a_square_of_half_the_side_inside_the_image():
    found = np.asarray(diff_augment.cut_out(KEY, NAMES))[..., 0]
    corners = set()
    for image in found:
        rows, columns = (np.flatnonzero((image == 0).any(axis=axis)) for axis in (1, 0))
        expected = np.asarray(NAMES[0, ..., 0]).copy()
        expected[np.ix_(rows, columns)] = 0.0
        np.testing.assert_array_equal(image, expected)  # a rectangle, and nothing else changed
        for side in (rows, columns):
            assert np.array_equal(side, np.arange(side[0], side[-1] + 1))
            whole = side[0] > 0 and side[-1] < 15
            assert len(side) == 8 if whole else 4 <= len(side) <= 8
        corners.add((rows[0], rows[-1], columns[0], columns[-1]))
    assert len(corners) > 30


def test_the_gradient_of_the_mean_under_a_change_of_colour():
    """Brightness adds a constant and the other two keep the mean: each pixel counts 1 / N."""
    slope = jax.grad(lambda x: jnp.mean(diff_augment.diff_augment(KEY, x, ("color",))))(IMAGES)
    np.testing.assert_allclose(slope, 1.0 / IMAGES.size, rtol=1e-4)


@pytest.mark.parametrize("policy", [("translation",), ("cutout",), ("translation", "cutout")])
def test_the_gradient_is_zero_where_pixels_are_lost(policy):
    slope = np.asarray(
        jax.grad(lambda x: jnp.sum(diff_augment.diff_augment(KEY, x, policy)))(NAMES)
    )
    found = diff_augment.diff_augment(KEY, NAMES, policy)
    for image, kept in zip(np.asarray(found), slope, strict=True):
        left = np.isin(NAMES[0], image)
        np.testing.assert_array_equal(kept, left.astype(np.float32))


def test_parts_are_applied_in_order_and_draws_differ():
    whole = diff_augment.diff_augment(KEY, IMAGES)
    steps = IMAGES
    for number, part in enumerate(("color", "translate", "cut_out")):
        steps = vars(diff_augment)[part](jax.random.fold_in(KEY, number), steps)
    np.testing.assert_array_equal(whole, steps)
    assert diff_augment.diff_augment(KEY, IMAGES, ()) is IMAGES
    assert not np.array_equal(whole, diff_augment.diff_augment(jax.random.key(5), IMAGES))
    with pytest.raises(KeyError, match="colour"):
        diff_augment.diff_augment(KEY, IMAGES, ("colour",))

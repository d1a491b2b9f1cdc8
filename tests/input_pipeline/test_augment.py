"""Crops and flips against all their possible results, image by image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import augment

PADDING = 2
WINDOWS = (2 * PADDING + 1) ** 2


@pytest.fixture(scope="module")
def crop():
    return jax.jit(augment.random_crop, static_argnums=(2, 3))


def offsets_of(crops, image, fill):
    """The window of the padded image that equals each crop; fails if there is not exactly one."""
    sides = ((PADDING, PADDING), (PADDING, PADDING), (0, 0))
    padded = np.pad(image, sides, constant_values=fill)
    height, width, _ = image.shape
    windows = np.stack(
        [
            padded[top : top + height, left : left + width]
            for top in range(2 * PADDING + 1)
            for left in range(2 * PADDING + 1)
        ]
    )
    match = (crops[:, None] == windows[None]).all(axis=(2, 3, 4))
    assert np.all(match.sum(axis=1) == 1)
    return match.argmax(axis=1)


@pytest.mark.parametrize("fill", [-1.0, 0.25])
def test_each_crop_is_a_window_and_all_are_equally_likely(crop, fill):
    image = np.random.default_rng(0).uniform(-1, 1, (5, 4, 3)).astype(np.float32)  # not square
    images = jnp.broadcast_to(jnp.asarray(image), (5000, 5, 4, 3))
    crops = crop(jax.random.key(0), images, PADDING, fill)
    assert crops.dtype == images.dtype and crops.shape == images.shape
    counts = np.bincount(offsets_of(np.asarray(crops), image, fill), minlength=WINDOWS)
    chi_square = np.sum((counts - 5000 / WINDOWS) ** 2) / (5000 / WINDOWS)
    assert chi_square < 51.2  # 24 degrees of freedom, p = 0.001


def test_crops_come_from_their_own_image_for_any_leading_axes(crop):
    images = jax.random.uniform(jax.random.key(1), (3, 7, 5, 4, 1))
    crops = crop(jax.random.key(2), images, PADDING, -1.0)
    flat = crop(jax.random.key(2), images.reshape(21, 5, 4, 1), PADDING, -1.0)
    np.testing.assert_array_equal(crops.reshape(flat.shape), flat)
    for image, cropped in zip(np.asarray(images).reshape(flat.shape), flat, strict=True):
        offsets_of(np.asarray(cropped)[None], image, -1.0)


def test_crops_depend_only_on_the_key_and_zero_padding_changes_nothing(crop):
    images = jax.random.uniform(jax.random.key(1), (64, 5, 4, 1))
    a, b, c = (crop(jax.random.key(k), images, PADDING, -1.0) for k in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    np.testing.assert_array_equal(crop(jax.random.key(0), images, 0, -1.0), images)


def test_flips_mirror_about_half():
    images = jnp.arange(400 * 4, dtype=jnp.float32).reshape(2, 200, 1, 4, 1)
    flipped = augment.random_flip(jax.random.key(0), images)
    mirrored = np.all(np.asarray(flipped) == np.asarray(images)[..., ::-1, :], axis=(2, 3, 4))
    same = np.all(np.asarray(flipped) == np.asarray(images), axis=(2, 3, 4))
    assert np.all(mirrored ^ same) and 150 < mirrored.sum() < 250

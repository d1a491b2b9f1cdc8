"""Crops, flips and changes of colour against what they have to be, image by image."""

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


# --- random resized crops ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resized_crop():
    return jax.jit(augment.random_resized_crop, static_argnums=2)


def ramps(count, height, width):
    """Images whose two channels are the row and the column of each pixel centre."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32) + 0.5
    return jnp.broadcast_to(jnp.asarray(np.stack([rows, columns], -1)), (count, height, width, 2))


def windows_of(crops, height, width):
    """Sides, as shares, and corners [N, 2] of the windows of ramps, read in the crops' middles."""
    middle = np.asarray(crops, np.float64)[
        :, height // 4 : -(height // 4), width // 4 : -(width // 4)
    ]
    sides = middle[:, 1, 0, 0] - middle[:, 0, 0, 0]
    # In a crop, pixel centre i + 0.5 shows corner + (i + 0.5) * side.
    first = np.asarray([height // 4 + 0.5, width // 4 + 0.5])
    return sides, middle[:, 0, 0] - first * sides[:, None], middle


def test_windows_are_inside_with_proportions_kept_and_their_area_is_uniform(resized_crop):
    height, width, least = 16, 24, 0.5
    crops = resized_crop(jax.random.key(0), ramps(4000, height, width), least)
    sides, corners, middle = windows_of(crops, height, width)
    # Rows and columns of all of a window are evenly spaced, by the same share of a pixel.
    for steps in (np.diff(middle[..., 0], axis=1), np.diff(middle[..., 1], axis=2)):
        np.testing.assert_allclose(steps / sides[:, None, None], 1, atol=1e-3)
    area = sides**2
    assert least - 1e-3 < area.min() < 0.51 and 0.99 < area.max() < 1 + 1e-3
    counts = np.bincount(
        ((area - least) / (1 - least) * 10).clip(0, 9.999).astype(int), minlength=10
    )
    assert np.sum((counts - 400) ** 2 / 400) < 27.9  # 9 degrees of freedom, p = 0.001
    places = corners / ((1 - sides[:, None]) * [height, width])
    places = places[area < 0.9]  # elsewhere the division magnifies rounding
    assert places.min() > -0.01 and places.max() < 1.01
    assert np.all(np.abs(places.mean(axis=0) - 0.5) < 4 * np.sqrt(1 / 12 / len(places)))
    assert abs(np.corrcoef(places.T)[0, 1]) < 4 / np.sqrt(len(places))


def test_a_window_is_enlarged_bilinearly_up_to_the_edges(resized_crop):
    """Against interpolation by hand, with the window read from two more channels."""
    height, width = 6, 8
    values = np.random.default_rng(0).uniform(-1, 1, (height, width)).astype(np.float32)
    images = np.concatenate([ramps(20, height, width), np.tile(values, (20, 1, 1))[..., None]], -1)
    crops = np.asarray(resized_crop(jax.random.key(1), jnp.asarray(images), 0.3), np.float64)
    sides, corners, _ = windows_of(crops[..., :2], height, width)
    for crop, side, corner in zip(crops, sides, corners, strict=True):
        weights = []
        for axis, length in enumerate((height, width)):
            at = np.clip(corner[axis] + (np.arange(length) + 0.5) * side - 0.5, 0, length - 1)
            weights.append(np.maximum(0, 1 - np.abs(at[:, None] - np.arange(length))))
        np.testing.assert_allclose(crop[..., 2], weights[0] @ values @ weights[1].T, atol=1e-4)


def test_the_whole_image_is_unchanged_and_draws_follow_the_key(resized_crop):
    images = jax.random.uniform(jax.random.key(1), (2, 3, 5, 4, 3))
    np.testing.assert_array_equal(resized_crop(jax.random.key(0), images, 1.0), images)
    a, b, c = (resized_crop(jax.random.key(k), images, 0.5) for k in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert a.shape == images.shape and not np.array_equal(a, c)


# --- changes of colour ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jitter():
    return jax.jit(augment.color_jitter, static_argnums=2)


def test_no_jitter_changes_nothing(jitter):
    images = jax.random.uniform(jax.random.key(1), (5, 6, 4, 3), minval=-1.0)
    np.testing.assert_allclose(jitter(jax.random.key(0), images, 0.0), images, atol=1e-6)


def test_colours_are_changed_as_the_formulas_say(jitter):
    """The factors are read from the images, whose colours are too middling to be clipped."""
    rng = np.random.default_rng(0)
    images = (0.5 + 0.2 * rng.uniform(-1, 1, (400, 4, 4, 3))).astype(np.float32)  # black is 0
    found = (np.asarray(jitter(jax.random.key(0), jnp.asarray(2 * images - 1), 0.2)) + 1) / 2
    grey = np.asarray([0.299, 0.587, 0.114])
    means = (images @ grey).mean(axis=(1, 2))
    # Neither contrast nor saturation changes the mean grey value, and saturation no grey value.
    brightness = (found @ grey).mean(axis=(1, 2)) / means
    deviations = [(x @ grey).std(axis=(1, 2)) for x in (found, images)]
    contrast = deviations[0] / deviations[1] / brightness
    colours = [np.abs(x[..., 0] - x[..., 2]).mean(axis=(1, 2)) for x in (found, images)]
    saturation = colours[0] / colours[1] / brightness / contrast
    bright = images * brightness[:, None, None, None]
    mean = (means * brightness)[:, None, None, None]
    contrasted = mean + contrast[:, None, None, None] * (bright - mean)
    own = (contrasted @ grey)[..., None]
    expected = own + saturation[:, None, None, None] * (contrasted - own)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    factors = np.stack([brightness, contrast, saturation])
    assert np.all((factors.min(axis=1) > 0.799) & (factors.min(axis=1) < 0.81))
    assert np.all((factors.max(axis=1) < 1.201) & (factors.max(axis=1) > 1.19))
    assert np.all(np.abs(np.corrcoef(factors) - np.eye(3)) < 0.2)  # four standard deviations


def test_values_stay_in_range_for_any_leading_axes_and_channels(jitter):
    images = jax.random.uniform(jax.random.key(1), (2, 50, 4, 4, 1), minval=-1.0)
    found = jitter(jax.random.key(0), images, 0.9)
    assert found.shape == images.shape and found.dtype == images.dtype
    assert found.min() == -1 and found.max() == 1
    flat = jitter(jax.random.key(0), images.reshape(100, 4, 4, 1), 0.9)
    np.testing.assert_allclose(found.reshape(flat.shape), flat, atol=1e-6)

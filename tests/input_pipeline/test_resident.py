"""Draws from a resident set: distinct, of the class asked, uniform, without a host transfer."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import augment, pixels, resident
from input_pipeline.sources import DataError, ImageSet


@pytest.fixture
def image_set():
    """120 images of 3 classes (20, 40, 60); an image's pixels tell its row."""
    labels = np.repeat([0, 1, 2], [20, 40, 60]).astype(np.int32)
    labels = np.random.default_rng(0).permutation(labels)
    images = np.tile(np.arange(120, dtype=np.uint8)[:, None, None, None], (1, 2, 2, 1))
    return ImageSet(images, labels, ("a", "b", "c"), "made", "train", "0")


def rows_of(images):
    return np.asarray(pixels.to_uint8(images))[..., 0, 0, 0]


def test_eight_bit_rule_is_the_identity_on_bytes():
    values = jnp.arange(256, dtype=jnp.uint8)
    unit = pixels.to_unit(values)
    assert unit.min() == -1 and unit.max() == 1
    np.testing.assert_array_equal(pixels.to_uint8(unit), values)
    np.testing.assert_array_equal(pixels.to_uint8(jnp.asarray([-3.0, 3.0, 0.004])), [0, 255, 128])


def test_positives_are_distinct_and_of_their_class(image_set):
    data = resident.to_device(image_set)
    classes = jnp.asarray([2, 0], jnp.int32)
    draw = jax.jit(resident.positives, static_argnums=3)
    for seed in range(20):
        rows = rows_of(draw(data, jax.random.key(seed), classes, 20))
        for row, label in zip(rows, (2, 0), strict=True):
            assert len(set(row.tolist())) == 20
            assert set(image_set.labels[row].tolist()) == {label}


def test_every_subset_is_equally_likely():
    draw = jax.jit(jax.vmap(lambda k: resident.distinct_integers(k, 2, jnp.asarray(5))))
    pairs = np.sort(np.asarray(draw(jax.random.split(jax.random.key(0), 20_000))), axis=1)
    counts = collections.Counter(map(tuple, pairs.tolist()))
    assert len(counts) == 10 and all(a != b for a, b in counts)
    chi_square = sum((c - 2000) ** 2 / 2000 for c in counts.values())
    assert chi_square < 27.9  # 9 degrees of freedom, p = 0.001


def test_more_than_there_are_stays_in_range():
    for upper in (0, 1, 3):
        drawn = resident.distinct_integers(jax.random.key(1), 6, jnp.asarray([upper]))
        assert drawn.min() >= 0 and drawn.max() <= max(upper - 1, 0)


def test_a_batch_is_distinct_uniform_and_in_random_order(image_set):
    data = resident.to_device(image_set)
    draw = jax.jit(lambda key: resident.batch(data, key, 30))
    first, counts = [], np.zeros(120)
    for seed in range(200):
        images, labels = draw(jax.random.key(seed))
        rows = rows_of(images)
        assert len(set(rows.tolist())) == 30
        np.testing.assert_array_equal(labels, image_set.labels[rows])
        counts[rows] += 1
        first.append(rows[0])
    assert np.sum((counts - 50) ** 2 / (50 * 0.75)) < 175  # 119 degrees of freedom, p = 0.001
    assert 40 < np.mean(first) < 79  # the first position is not tied to low rows


def test_draws_differ_by_key_and_repeat_by_key(image_set):
    data = resident.to_device(image_set)
    classes = jnp.arange(3, dtype=jnp.int32)
    a, b, c = (resident.positives(data, jax.random.key(k), classes, 8) for k in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_draws_need_no_transfer(image_set):
    data = resident.to_device(image_set)
    key, classes = jax.random.key(0), jnp.arange(3, dtype=jnp.int32)
    draw = jax.jit(lambda d, k, c: (resident.positives(d, k, c, 4), resident.batch(d, k, 4)))
    with jax.transfer_guard("disallow"):
        jax.block_until_ready(draw(data, key, classes))


def test_a_class_with_too_few_images_is_named(image_set):
    resident.require_class_counts(image_set, 20)
    with pytest.raises(DataError, match=r"fewer images than the 32 .*: a \(20\)\. Lower"):
        resident.require_class_counts(image_set, 32)


def test_flips_mirror_about_half():
    images = jnp.arange(400 * 4, dtype=jnp.float32).reshape(2, 200, 1, 4, 1)
    flipped = augment.random_flip(jax.random.key(0), images)
    mirrored = np.all(np.asarray(flipped) == np.asarray(images)[..., ::-1, :], axis=(2, 3, 4))
    same = np.all(np.asarray(flipped) == np.asarray(images), axis=(2, 3, 4))
    assert np.all(mirrored ^ same) and 150 < mirrored.sum() < 250

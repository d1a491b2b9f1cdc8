"""Draws from a resident set: distinct, of the right class, uniform, without a host transfer."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import pixels, resident
from input_pipeline.sources import ImageSet
from input_pipeline.space import Latents, Pixels


@pytest.fixture
def image_set():
    """120 images of 3 classes (20, 40, 60); an image's pixels encode its row."""
    labels = np.repeat([0, 1, 2], [20, 40, 60]).astype(np.int32)
    labels = np.random.default_rng(0).permutation(labels)
    images = np.tile(np.arange(120, dtype=np.uint8)[:, None, None, None], (1, 2, 2, 1))
    return ImageSet(images, labels, ("a", "b", "c"), "made", "train", Pixels((2, 2, 1)))


def rows_of(images):
    return np.asarray(pixels.to_uint8(images))[..., 0, 0, 0]


def test_eight_bit_rule_is_the_identity_on_bytes():
    values = jnp.arange(256, dtype=jnp.uint8)
    unit = pixels.to_unit(values)
    assert unit.min() == -1 and unit.max() == 1
    np.testing.assert_array_equal(pixels.to_uint8(unit), values)
    np.testing.assert_array_equal(pixels.to_uint8(jnp.asarray([-3.0, 3.0, 0.004])), [0, 255, 128])


def test_positives_are_distinct_and_of_their_class(image_set):
    data = image_set.to_device()
    classes = jnp.asarray([2, 0], jnp.int32)
    draw = jax.jit(resident.Resident.positives, static_argnums=3)
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


def test_every_order_is_equally_likely():
    """So the first part of a draw is itself a draw, with the same range as the last part."""
    keys = jax.random.split(jax.random.key(1), 6000)
    draw = jax.jit(jax.vmap(lambda k: resident.distinct_integers(k, 3, jnp.asarray(4))))
    counts = np.bincount(np.asarray(draw(keys)) @ np.asarray([16, 4, 1]), minlength=64)
    counts = counts[counts > 0]
    assert len(counts) == 24  # 4 * 3 * 2 orders
    assert np.sum((counts - 250) ** 2 / 250) < 49.7  # 99.9 % of chi-square, 23 degrees of freedom


def test_drawing_more_than_exist_stays_in_range():
    for upper in (0, 1, 3):
        drawn = resident.distinct_integers(jax.random.key(1), 6, jnp.asarray([upper]))
        assert drawn.min() >= 0 and drawn.max() <= max(upper - 1, 0)


def test_a_batch_is_distinct_uniform_and_in_random_order(image_set):
    data = image_set.to_device()
    draw = jax.jit(lambda key: data.draw(key, 30))
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
    data = image_set.to_device()
    classes = jnp.arange(3, dtype=jnp.int32)
    a, b, c = (data.positives(jax.random.key(k), classes, 8) for k in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_draws_need_no_transfer(image_set):
    data = image_set.to_device()
    key, classes = jax.random.key(0), jnp.arange(3, dtype=jnp.int32)
    draw = jax.jit(lambda d, k, c: (d.positives(k, c, 4), d.draw(k, 4)))
    with jax.transfer_guard("disallow"):
        jax.block_until_ready(draw(data, key, classes))


def numbered(count):
    """A resident set whose labels are the rows."""
    images = np.zeros((count, 1, 1, 1), np.uint8)
    arrays = map(jnp.asarray, (images, np.arange(count), np.zeros((1, 1), np.int32)))
    return resident.Resident(*arrays, (count,), Pixels((1, 1, 1)))


def test_half_of_the_visits_are_of_the_mirror_images():
    """Row k is stored as k + 1, and its mirror image as -(k + 1)."""
    rows = np.arange(1, 401, dtype=np.float32).reshape(400, 1, 1, 1)
    labels, space = np.arange(400) % 2, Latents((1, 1, 1))
    data = jax.device_put(resident.Resident.of(rows, labels, 2, space, -rows))
    key, classes = jax.random.key(0), jnp.arange(2, dtype=jnp.int32)
    step = [data.next_batch(key, jnp.asarray(s), 400)[0] for s in (0, 1)]  # an epoch each
    positives = data.positives(key, classes, 200)
    assert jnp.all((jnp.abs(positives) - 1) % 2 == jnp.asarray([0.0, 1.0]).reshape(2, 1, 1, 1, 1))
    for drawn in (*step, data.draw(key, 400)[0], data.fresh(key, 400)[0], positives):
        values = np.asarray(drawn).ravel()
        np.testing.assert_array_equal(np.sort(np.abs(values)), rows.ravel())
        assert abs((values < 0).mean() - 0.5) < 0.125  # five standard errors
    in_order = [np.sign(np.asarray(x).ravel())[np.argsort(np.abs(x).ravel())] for x in step]
    assert 0.375 < (in_order[0] == in_order[1]).mean() < 0.625  # each step draws anew


@pytest.mark.parametrize("count,n", [(120, 30), (10, 4), (5, 12), (7, 1), (1, 4)])
def test_every_epoch_has_every_image_once_for_any_batch_size(count, n):
    traces = []

    @jax.jit
    def draw(data, key, step):
        traces.append(step)
        return data.next_batch(key, step, n)

    data, key = numbered(count), jax.random.key(3)
    steps = -(-4 * count // n)
    stream = [draw(data, key, jnp.asarray(step, jnp.int32))[1] for step in range(steps)]
    assert len(traces) == 1  # one program for all steps
    epochs = np.concatenate(stream)[: 4 * count].reshape(4, count)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(count), (4, 1)))
    if count > 6:
        assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4  # orders differ


def test_the_stream_does_not_depend_on_the_batch_size_and_resumes_anywhere():
    data, key = numbered(11), jax.random.key(4)
    draw = jax.jit(resident.Resident.next_batch, static_argnums=3)
    by_four = np.concatenate([draw(data, key, jnp.asarray(s), 4)[1] for s in range(11)])
    by_eleven = np.concatenate([draw(data, key, jnp.asarray(s), 11)[1] for s in range(4)])
    np.testing.assert_array_equal(by_four, by_eleven)
    # Step 2 holds positions 8 to 11: the end of one epoch and the start of the next.
    np.testing.assert_array_equal(draw(data, key, jnp.asarray(2), 4)[1], by_eleven[8:12])


def test_epoch_batches_are_images_in_range_with_their_labels(image_set):
    data = image_set.to_device()
    draw = jax.jit(resident.Resident.next_batch, static_argnums=3)
    images, labels = draw(data, jax.random.key(0), jnp.asarray(3), 50)
    assert images.dtype == jnp.float32 and labels.dtype == jnp.int32
    np.testing.assert_array_equal(labels, image_set.labels[rows_of(images)])


def of_two_classes(counts):
    """Two classes in random order of rows, each with its numbers 1, 2, ... as values."""
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1], counts))
    values = np.empty(len(labels), np.float32)
    for label, count in enumerate(counts):
        values[labels == label] = 1 + np.arange(count)
    values = values.reshape(-1, 1, 1, 1)
    return resident.Resident.of(values, labels, 2, Latents((1, 1, 1)))


def class_stream(data, key, label, n, steps):
    """The values of the given steps of a class, in their order; one program for all steps."""
    traces = []

    @jax.jit
    def draw(data, key, step):
        traces.append(step)
        return data.next_of_class(key, step, label, n)

    drawn = [draw(data, key, jnp.asarray(step, jnp.int32)) for step in steps]
    assert len(traces) == 1 and drawn[0].shape == (n, 1, 1, 1)
    return np.concatenate(drawn).ravel().astype(int)


@pytest.mark.parametrize("counts,n", [((7, 20), 4), ((1, 6), 3), ((5, 9), 12)])
def test_every_epoch_of_a_class_has_each_of_its_samples_once(counts, n):
    data, key = jax.device_put(of_two_classes(counts)), jax.random.key(3)
    for label, count in enumerate(counts):
        stream = class_stream(data, key, label, n, range(-(-4 * count // n)))
        epochs = stream[: 4 * count].reshape(4, count)
        np.testing.assert_array_equal(np.sort(epochs), np.tile(1 + np.arange(count), (4, 1)))
        if count > 6:
            assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4  # orders differ


def test_the_stream_of_a_class_is_resumed_at_any_step():
    data, key = jax.device_put(of_two_classes((11, 5))), jax.random.key(4)
    by_four = class_stream(data, key, 0, 4, range(11))
    np.testing.assert_array_equal(class_stream(data, key, 0, 11, range(4)), by_four)
    np.testing.assert_array_equal(class_stream(data, key, 0, 4, [7, 8]), by_four[28:36])


def test_classes_are_drawn_independently_of_each_other():
    """With one key, the pairs of the two sides are as good as random: of 40 about one is equal."""
    data, key = jax.device_put(of_two_classes((40, 40))), jax.random.key(5)
    first, second = (class_stream(data, key, label, 40, range(10)) for label in (0, 1))
    assert (first == second).sum() < 22  # of 400, 10 are expected; four standard deviations
    other = class_stream(data, jax.random.key(6), 0, 40, range(10))
    assert (first == other).sum() < 22


def test_a_class_without_samples_is_refused():
    data = jax.device_put(of_two_classes((3, 0)))
    with pytest.raises(ValueError, match="class 1 has no samples"):
        data.next_of_class(jax.random.key(0), jnp.asarray(0), 1, 2)


def test_half_of_the_visits_of_a_class_are_of_the_mirror_images():
    values = 1 + np.arange(300, dtype=np.float32).reshape(300, 1, 1, 1)
    labels = np.zeros(300, int)
    data = resident.Resident.of(values, labels, 1, Latents((1, 1, 1)), -values)
    drawn = class_stream(jax.device_put(data), jax.random.key(0), 0, 300, range(1))
    np.testing.assert_array_equal(np.sort(np.abs(drawn)), values.ravel())
    assert 110 < (drawn < 0).sum() < 190  # four standard deviations


@pytest.mark.parametrize("count,n", [(45_000, 128), (1_281_167, 4096), (2**31 - 1, 4096), (3, 256)])
def test_positions_of_long_runs_do_not_overflow(count, n):
    place_of = jax.jit(resident._stream_position, static_argnums=(1, 2))
    # 5,625 batches of 128 are 16 epochs of 45,000: the place is back at 0.
    for step in (0, 1, 351, 5625, 2**20 + 7, 2**31 // n, 2**31 - 1):
        epoch, place = place_of(jnp.asarray(step, jnp.int32), n, count)
        expected = divmod(step * n, count)
        assert (int(epoch), int(place)) == (expected[0] % 2**32, expected[1])

"""The ring buffer against a plain deque of each class."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.queue import SampleQueue
from input_pipeline.space import Latents, Pixels

SIZE, CLASSES, SPACE = 5, 3, Pixels((1, 1, 1))


def made(rows):
    return jnp.asarray(np.asarray(rows, np.uint8)[:, None, None, None])


def stored(queue, label):
    """The class's images from the oldest to the newest."""
    count, head = int(queue.counts[label]), int(queue.heads[label])
    slots = [(head - count + i) % queue.size for i in range(count)]
    return [int(queue.images[label, s, 0, 0, 0]) for s in slots]


@pytest.mark.parametrize("seed", range(4))
def test_like_a_deque_under_random_pushes(seed):
    rng = np.random.default_rng(seed)
    queue = SampleQueue.create(CLASSES, SIZE, SPACE)
    model = [collections.deque(maxlen=SIZE) for _ in range(CLASSES)]
    push = jax.jit(SampleQueue.push)
    for _ in range(8):
        # Batches of 12 in 3 classes overfill 5 slots; some classes are absent.
        labels = rng.choice(rng.choice(CLASSES, 2), 12).astype(np.int32)
        rows = rng.integers(0, 256, 12)
        queue = push(queue, made(rows), jnp.asarray(labels))
        for row, label in zip(rows, labels, strict=True):
            model[label].append(int(row))
        assert [stored(queue, k) for k in range(CLASSES)] == [list(m) for m in model]


def test_draws_are_distinct_and_flag_classes_with_too_few_images():
    queue = SampleQueue.create(CLASSES, SIZE, SPACE)
    rows, labels = [10, 11, 12, 13, 20], jnp.asarray([0, 0, 0, 0, 1], jnp.int32)
    queue = queue.push(made(rows), labels)
    classes = jnp.arange(CLASSES, dtype=jnp.int32)
    for seed in range(10):
        images, valid = queue.sample(jax.random.key(seed), classes, 3)
        drawn = np.asarray(images)[0, :, 0, 0, 0]
        assert len(set(drawn.tolist())) == 3 and set(drawn.tolist()) <= {10, 11, 12, 13}
        assert valid.tolist() == [True, False, False]


def test_draws_of_all_classes_are_uniform_over_stored_images():
    queue = SampleQueue.create(CLASSES, SIZE, SPACE)
    queue = queue.push(made([1, 2, 3, 40]), jnp.asarray([0, 0, 0, 2], jnp.int32))
    seen = collections.Counter()
    draw = jax.jit(lambda key: queue.sample_any(key, 3, 2))
    for seed in range(100):
        images, valid = draw(jax.random.key(seed))
        drawn = np.asarray(images).reshape(3, 2).tolist()
        assert valid and all(len(set(one)) == 2 for one in drawn)
        seen.update(np.ravel(drawn).tolist())
    assert set(seen) == {1, 2, 3, 40} and min(seen.values()) > 110  # 150 expected of each
    assert not queue.sample_any(jax.random.key(0), 1, 5)[1]


def test_latents_are_queued_as_they_are():
    queue = SampleQueue.create(2, 3, Latents((2, 2, 4)))
    latents = jax.random.normal(jax.random.key(0), (2, 2, 2, 4)) * 1000.0
    queue = queue.push(latents, jnp.asarray([1, 0], jnp.int32))
    found, _ = queue.sample(jax.random.key(1), jnp.arange(2, dtype=jnp.int32), 1)
    np.testing.assert_array_equal(found[:, 0], latents[::-1])

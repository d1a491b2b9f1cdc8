"""A whole data set on the accelerator, and jittable draws from it.

Small data sets fit the device as uint8 (CIFAR-10 takes 154 MB), so a batch is a gather inside the
jitted step: no loader, no queue, no copies.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from input_pipeline import pixels
from input_pipeline.sources import DataError, ImageSet


@flax.struct.dataclass
class Resident:
    """A labelled data set of K classes.

    Attributes:
      images: uint8 [N, H, W, C].
      labels: int32 [N].
      class_index: int32 [K, max count], the positions of each class; rows are padded with their
        first entry.
      class_counts: int32 [K].
    """

    images: jax.Array
    labels: jax.Array
    class_index: jax.Array
    class_counts: jax.Array


def to_device(image_set: ImageSet, sharding: jax.sharding.Sharding | None = None) -> Resident:
    """Copies the set to the device, or to all devices of a replicated `sharding`."""
    counts = np.bincount(image_set.labels, minlength=image_set.num_classes).astype(np.int32)
    index = np.zeros((image_set.num_classes, max(counts.max(), 1)), np.int32)
    for label in range(image_set.num_classes):
        rows = np.flatnonzero(image_set.labels == label)
        index[label, : len(rows)] = rows
        index[label, len(rows) :] = rows[0] if len(rows) else 0
    data = Resident(image_set.images, image_set.labels.astype(np.int32), index, counts)
    return jax.device_put(data, sharding)


def require_class_counts(image_set: ImageSet, n: int) -> None:
    """Raises DataError unless every class holds at least n images."""
    counts = np.bincount(image_set.labels, minlength=image_set.num_classes)
    short = [f"{image_set.class_names[k]} ({counts[k]})" for k in np.flatnonzero(counts < n)]
    if short:
        raise DataError(
            f"{image_set.source} has classes with fewer images than the {n} distinct positives "
            f"asked of each: {', '.join(short)}. Lower config.method.num_positives or add images."
        )


def distinct_integers(key: jax.Array, n: int, upper: jax.Array) -> jax.Array:
    """n distinct integers below each of `upper` [...], every n-subset equally likely: [..., n].

    Floyd's algorithm (Bentley and Floyd, CACM 30(9), 1987): n sequential draws, whatever the range,
    where a permutation would sort all of it. The set is uniform, its order is not. Where n > upper,
    numbers repeat but stay in range.
    """
    # Draw j is uniform on 0..top_j; one that was seen before is replaced by top_j itself.
    upper = jnp.broadcast_to(upper[..., None], (*upper.shape, n)).astype(jnp.int32)
    position = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32), upper.shape)
    top = jnp.where(upper >= n, upper - n + position, upper - 1)
    draws = jax.random.randint(key, top.shape, 0, jnp.maximum(top, 0) + 1, jnp.int32)

    def draw(chosen: jax.Array, j: jax.Array) -> tuple[jax.Array, None]:
        seen = jnp.any(chosen == draws[..., j, None], axis=-1)
        value = jnp.where(seen, top[..., j], draws[..., j])
        return chosen.at[..., j].set(value), None

    chosen, _ = jax.lax.scan(draw, jnp.full(top.shape, -1, jnp.int32), jnp.arange(n), unroll=8)
    return jnp.maximum(chosen, 0)


def positives(data: Resident, key: jax.Array, classes: jax.Array, n: int) -> jax.Array:
    """n distinct images of each of `classes` [C]: float32 [C, n, H, W, C] in [-1, 1]."""
    within = distinct_integers(key, n, data.class_counts[classes])
    rows = jnp.take_along_axis(data.class_index[classes], within, axis=1)
    return pixels.to_unit(data.images[rows])


def batch(data: Resident, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """n distinct images of the whole set, in random order, and their labels.

    Returns:
      float32 [n, H, W, C] in [-1, 1] and int32 [n].
    """
    key_rows, key_order = jax.random.split(key)
    rows = distinct_integers(key_rows, n, jnp.asarray(data.images.shape[0], jnp.int32))
    rows = jax.random.permutation(key_order, rows)
    return pixels.to_unit(data.images[rows]), data.labels[rows]

"""A whole data set on the accelerator, and jittable draws from it.

Small data sets fit on the device as uint8 (CIFAR-10 takes 154 MB), so a batch is a gather inside
the jitted step: no loader, no queue, no copies.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from input_pipeline import shuffle
from input_pipeline.data import Data
from input_pipeline.space import Space

MIRRORING = 0x6D697272  # folded into keys, apart from the small numbers folded in elsewhere


@flax.struct.dataclass
class Resident(Data):
    """A labelled data set of K classes; see `Data` for its calls.

    Attributes:
      images: stored values [N, *space.shape].
      labels: int32 [N].
      class_index: int32 [K, max count], the positions of each class; rows are padded with their
        first entry.
      class_counts: [K], a static part of the type: the size of a class's epochs.
      mirrored: see `ImageSet.mirrored`.
    """

    images: jax.Array
    labels: jax.Array
    class_index: jax.Array
    class_counts: tuple[int, ...] = flax.struct.field(pytree_node=False)
    space: Space = flax.struct.field(pytree_node=False)
    mirrored: jax.Array | None = None

    @classmethod
    def of(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        num_classes: int,
        space: Space,
        mirrored: np.ndarray | None = None,
    ) -> "Resident":
        """The set on the host, with its classes indexed."""
        counts = tuple(np.bincount(labels, minlength=num_classes).tolist())
        index = np.zeros((num_classes, max(*counts, 1)), np.int32)
        for label in range(num_classes):
            rows = np.flatnonzero(labels == label)
            index[label, : len(rows)] = rows
            index[label, len(rows) :] = rows[0] if len(rows) else 0
        return cls(images, labels.astype(np.int32), index, counts, space, mirrored)

    def next_batch(self, key: jax.Array, step: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        """The stream's positions step * n to step * n + n - 1; position p is in epoch p // N.

        The order of an epoch depends only on `key` and the epoch. So every row is seen exactly once
        per epoch, none is dropped at its end, and a run resumed at step k continues the same
        stream. For any n and N, orders repeat after 2^32 epochs.
        """
        rows = _stream_places(key, step, n, self.num_rows)
        stored = self._visit(jax.random.fold_in(key, step), rows)
        return self.space.to_model(stored), self.labels[rows]

    def next_of_class(self, key: jax.Array, step: jax.Array, label: int, n: int) -> jax.Array:
        count = self.class_counts[label]
        if count == 0:
            raise ValueError(f"class {label} has no samples to go through")
        key = jax.random.fold_in(key, label)  # every class has its own orders
        places = _stream_places(key, step, n, count)
        stored = self._visit(jax.random.fold_in(key, step), self.class_index[label, places])
        return self.space.to_model(stored)

    def draw(self, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        stored, labels = self.fresh(key, n)
        return self.space.to_model(stored), labels

    def positives(self, key: jax.Array, classes: jax.Array, n: int) -> jax.Array:
        counts = jnp.asarray(self.class_counts, jnp.int32)
        within = distinct_integers(key, n, counts[classes])
        rows = jnp.take_along_axis(self.class_index[classes], within, axis=1)
        return self.space.to_model(self._visit(key, rows))

    def fresh(self, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        rows = distinct_integers(key, n, jnp.asarray(self.num_rows, jnp.int32))
        return self._visit(key, rows), self.labels[rows]

    def _visit(self, key: jax.Array, rows: jax.Array) -> jax.Array:
        """Stored values of `rows` [...], each mirrored with probability 1/2 if `mirrored` is set.

        Args:
          key: of this visit; it may be used for other draws, too.
        """
        if self.mirrored is None:
            return self.images[rows]
        chosen = jax.random.bernoulli(jax.random.fold_in(key, MIRRORING), 0.5, rows.shape)
        chosen = chosen.reshape(*rows.shape, *(1 for _ in self.space.shape))
        return jnp.where(chosen, self.mirrored[rows], self.images[rows])


def distinct_integers(key: jax.Array, n: int, upper: jax.Array) -> jax.Array:
    """n distinct integers below each of `upper` [...], in random order: [..., n].

    Every n-subset and every order is equally likely, so parts of a draw are draws themselves.
    Floyd's algorithm (Bentley and Floyd, CACM 30(9), 1987) takes n sequential draws for any range,
    whereas a permutation sorts the whole range. If n > upper, numbers repeat but stay in range.
    """
    key_draws, key_order = jax.random.split(key)
    # Draw j is uniform on 0..top_j; a value drawn before is replaced by top_j itself.
    upper = jnp.broadcast_to(upper[..., None], (*upper.shape, n)).astype(jnp.int32)
    position = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32), upper.shape)
    top = jnp.where(upper >= n, upper - n + position, upper - 1)
    draws = jax.random.randint(key_draws, top.shape, 0, jnp.maximum(top, 0) + 1, jnp.int32)

    def draw(chosen: jax.Array, j: jax.Array) -> tuple[jax.Array, None]:
        seen = jnp.any(chosen == draws[..., j, None], axis=-1)
        value = jnp.where(seen, top[..., j], draws[..., j])
        return chosen.at[..., j].set(value), None

    chosen, _ = jax.lax.scan(draw, jnp.full(top.shape, -1, jnp.int32), jnp.arange(n), unroll=8)
    # The set is uniform but its order is not: later draws have a larger range.
    return jax.random.permutation(key_order, jnp.maximum(chosen, 0), axis=-1, independent=True)


def _stream_places(key: jax.Array, step: jax.Array, n: int, size: int) -> jax.Array:
    """Batch number `step` of an endless stream of epochs of `size` rows: int32 [n].

    The order of an epoch depends only on `key` and the epoch.
    """
    epoch, place = _stream_position(step, n, size)
    ahead = place + jnp.arange(n, dtype=jnp.uint32)
    # The batch may reach into so many epochs: their keys are drawn once, not for each row.
    epochs = epoch + jnp.arange((n - 2) // size + 2, dtype=jnp.uint32)
    keys = jax.vmap(lambda e: shuffle.round_keys(jax.random.fold_in(key, e)))(epochs)
    return shuffle.permuted(keys[ahead // jnp.uint32(size)], ahead % jnp.uint32(size), size)


def _stream_position(step: jax.Array, n: int, size: int) -> tuple[jax.Array, jax.Array]:
    """Epoch and place of position step * n, both uint32; the product may exceed 32 bits.

    step is written as two digits in base `size` and multiplied by n bit by bit; the lower digit
    stays below 2 * size < 2^32.
    """
    base = jnp.uint32(size)
    step = step.astype(jnp.uint32)
    digits = step // base, step % base
    epoch = place = jnp.uint32(0)
    for bit in f"{n:b}":
        for add in ((epoch, place), digits) if bit == "1" else ((epoch, place),):
            epoch, place = epoch + add[0], place + add[1]
            carry = place >= base
            epoch, place = epoch + carry.astype(jnp.uint32), jnp.where(carry, place - base, place)
    return epoch, place

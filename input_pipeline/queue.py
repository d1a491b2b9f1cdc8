"""A ring buffer of the newest real samples of each class, on the device, for streamed data.

The sample queue of the drifting models (Deng et al., arXiv:2602.04770, appendix): each push
enqueues a batch of new real samples and drops the oldest; draws are without replacement.
"""

import flax.struct
import jax
import jax.numpy as jnp

from input_pipeline.resident import distinct_integers
from input_pipeline.space import Space


@flax.struct.dataclass
class SampleQueue:
    """The newest Q samples of each of K classes, in any space.

    Attributes:
      images: stored values [K, Q, *space.shape].
      heads: int32 [K], the slot of the class's next image.
      counts: int32 [K], the number of filled slots.
    """

    images: jax.Array
    heads: jax.Array
    counts: jax.Array

    @classmethod
    def create(cls, num_classes: int, size: int, space: Space) -> "SampleQueue":
        """An empty queue of `size` samples per class."""
        zeros = jnp.zeros((num_classes,), jnp.int32)
        images = jnp.zeros((num_classes, size, *space.shape), space.dtype)
        return cls(images=images, heads=zeros, counts=jnp.zeros_like(zeros))

    @property
    def size(self) -> int:
        return self.images.shape[1]

    def push(self, images: jax.Array, labels: jax.Array) -> "SampleQueue":
        """Enqueues stored values [B, *space.shape] with `labels` [B]; the first is the oldest."""
        member = jax.nn.one_hot(labels, self.heads.shape[0], dtype=jnp.int32)  # [B, K]
        rank = jnp.take_along_axis(jnp.cumsum(member, axis=0), labels[:, None], axis=1)[:, 0] - 1
        added = jnp.sum(member, axis=0)
        slot = (self.heads[labels] + rank) % self.size
        # If a class has more than Q new images, only the last Q are kept. The others get a slot out
        # of range, because the order of writes to one slot is undefined.
        kept = rank >= added[labels] - self.size
        slot = jnp.where(kept, slot, self.size)
        return SampleQueue(
            images=self.images.at[labels, slot].set(images, mode="drop"),
            heads=(self.heads + added) % self.size,
            counts=jnp.minimum(self.counts + added, self.size),
        )

    def sample(self, key: jax.Array, classes: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        """n distinct images of each of `classes` [C].

        Returns:
          Stored values [C, n, *space.shape], and bool [C]: false for a class with fewer than n
          images, whose row must not be used.
        """
        counts = self.counts[classes]
        slots = distinct_integers(key, n, counts)
        return self.images[classes[:, None], slots], counts >= n

    def sample_any(self, key: jax.Array, sets: int, n: int) -> tuple[jax.Array, jax.Array]:
        """Sets of n distinct images of any class, each stored image equally likely.

        The sets are independent: an image may be in several of them.

        Returns:
          Stored values [sets, n, *space.shape], and a bool: false if fewer than n images are
          stored, in which case they must not be used.
        """
        ends = jnp.cumsum(self.counts)
        number = distinct_integers(key, n, jnp.broadcast_to(ends[-1], (sets,)))
        classes = jnp.searchsorted(ends, number, side="right")
        classes = jnp.minimum(classes, self.counts.shape[0] - 1)
        slots = number - (ends - self.counts)[classes]
        return self.images[classes, slots], ends[-1] >= n

"""Scores on a whole held-out set in one compiled program; the method defines the sums."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from drifting.core.method import Scored
from input_pipeline import resident
from input_pipeline.sources import ImageSet


class Validation:
    """A held-out set on the device, and the program that scores it.

    Args:
      batch_size: images per batch; it affects nothing but rounding.
      placement: of whole arrays; the program itself shards each batch over the devices.
    """

    def __init__(
        self,
        method: Scored,
        image_set: ImageSet,
        batch_size: int,
        placement: jax.sharding.Sharding,
    ):
        self._method, self._placement = method, placement
        self._data = image_set.to_device(placement)
        self._key = jax.device_put(jax.random.key(0), placement)  # the same draws each time
        self._sums = jax.jit(_make_program(method, min(batch_size, len(image_set))))

    def sums(self, state: Any) -> Any:
        """The sums of the method's `tally` over the whole set, on the host."""
        return jax.device_get(self._sums(state, self._data, self._key))

    def scores(self, state: Any) -> dict[str, float]:
        """The method's scores, by name."""
        return self._method.scores(self.sums(state))


def _make_program(method: Scored, batch_size: int) -> Callable:
    def program(state: Any, data: resident.Resident, key: jax.Array) -> Any:
        count = data.images.shape[0]

        def sums_of(batch: jax.Array) -> Any:
            places = batch * batch_size + jnp.arange(batch_size)
            rows = jnp.minimum(places, count - 1)  # the last batch is padded
            images = data.space.to_model(data.images[rows])
            weight = (places < count).astype(jnp.float32)
            return method.tally(
                state, images, data.labels[rows], weight, jax.random.fold_in(key, batch)
            )

        def add(total: Any, batch: jax.Array) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, sums_of(batch)), None

        shapes = jax.eval_shape(sums_of, jnp.int32(0))
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        batches = -(-count // batch_size)
        return jax.lax.scan(add, zeros, jnp.arange(batches, dtype=jnp.int32))[0]

    return program

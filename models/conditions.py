"""What a generator network is told in addition to its input: one type for all of them."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

STYLE_TOKENS = 32  # codes of a sample
STYLE_CODES = 64  # values that a code can have


class Condition(NamedTuple):
    """Of B samples; a method fills in what it has, a network reads what it declares.

    A network makes parameters only for what it is given: which fields are None must therefore be
    the same at every call.

    Attributes:
      time: float32 [B], t, where the network's input is; 1 is noise.
      interval: float32 [B], h = t - r, the length of the interval that ends there.
      label: int32 [B], 0 to num_classes, which is the null class.
      guidance: float32 [B], the scale of classifier-free guidance.
      style: int32 [B, STYLE_TOKENS], random codes below STYLE_CODES, a second source of noise.
    """

    time: jax.Array | None = None
    interval: jax.Array | None = None
    label: jax.Array | None = None
    guidance: jax.Array | None = None
    style: jax.Array | None = None

    def times(self, batch: int) -> tuple[jax.Array, jax.Array]:
        """Time and interval, [B] each.

        A generator of one step, which knows none, goes from noise at t = 1 over the whole interval.
        """
        ones = jnp.ones((batch,), jnp.float32)
        return (
            ones if self.time is None else self.time,
            ones if self.interval is None else self.interval,
        )

    def only(self, reads: frozenset[str]) -> "Condition":
        """Without the fields that are not among `reads`."""
        return Condition(**{k: v for k, v in self._asdict().items() if k in reads})


class GeneratorNetwork(nn.Module):
    """A network from B samples' worth of noise, or noisy samples, to values of the same shape.

    All are called as network(z [B, ...], condition, train=False) -> float32, z's shape, and ignore
    what they do not read. They raise ValueError for samples or arguments that do not fit, and where
    a network with classes is told no labels.

    Attributes:
      reads: the fields of a Condition that it can be told.
      axes: of one sample.
      sizes: presets of its other attributes by name; none where it has no sizes.
    """

    reads: ClassVar[frozenset[str]]
    axes: ClassVar[int] = 3
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def fused(self) -> "GeneratorNetwork":
        """Itself, for calls without jax.jvp around them: fused kernels have no such derivative."""
        return self

"""What generator networks have in common: how they are called, and the condition they are given."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

STYLE_TOKENS = 32  # codes of a sample
STYLE_CODES = 64  # values that a code can have


class Condition(NamedTuple):
    """The condition of B samples: a method fills in what it has, a network reads what it declares.

    A network makes parameters only for the fields it is given, so the same fields must be None at
    every call.

    Attributes:
      time: float32 [B], the time t of the network's input; t = 1 is noise.
      interval: float32 [B], h = t - r, the length of the interval [r, t].
      label: int32 [B], from 0 to num_classes, which is the null class.
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

        Both are 1 where they are None: a one-step generator goes from noise at t = 1 to t - h = 0.
        """
        ones = jnp.ones((batch,), jnp.float32)
        return (
            ones if self.time is None else self.time,
            ones if self.interval is None else self.interval,
        )

    def only(self, reads: frozenset[str]) -> "Condition":
        """The condition without the fields that are not in `reads`."""
        return Condition(**{k: v for k, v in self._asdict().items() if k in reads})


class GeneratorNetwork(nn.Module):
    """A network from noise, or noisy samples, and a condition to values of the same shape.

    Attributes:
      num_classes: label `num_classes` is the null class; with 0, labels are ignored.
      reads: the fields of a Condition that the network can read.
      axes: number of axes of one sample.
      sizes: presets of the other attributes by name; empty if the network has no sizes.
    """

    num_classes: int

    reads: ClassVar[frozenset[str]]
    axes: ClassVar[int] = 3
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __call__(self, z: jax.Array, condition: Condition, train: bool = False) -> jax.Array:
        """Velocities of noisy samples z, or samples made of noise z: float32, of z's shape.

        Args:
          z: images [B, H, W, C] or points [B, D].
          condition: fields that the network does not read are ignored.
          train: values are dropped out, which takes a random stream 'dropout'; no effect in
            networks without dropout.

        Raises:
          ValueError: z does not fit the network, its attributes do not fit each other, or a network
            with classes is given no labels.
        """
        raise NotImplementedError

    def fused(self) -> "GeneratorNetwork":
        """The network with fused kernels, where it has them: not for calls within jax.jvp, as
        these kernels have no forward-mode derivative."""
        return self

"""A multilayer perceptron for points, such as mixtures in the plane."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.conditions import Condition, GeneratorNetwork
from models.layers.embeddings import fourier_features, guidance_row, label_row

Dtype = Any

# Angular frequencies of t and h, 16 down to 0.16: a step of 0.05 is seen, yet the derivative in
# t, which MeanFlow trains on, stays moderate.
TIME_FEATURES = 32
TIME_SCALE = 16.0
TIME_MAX_PERIOD = 100.0


def octaves(z: jax.Array, count: int) -> jax.Array:
    """Sines, then cosines, of z [B, D] at 1, 2, 4, ... half turns a unit: [B, 2 * count * D]."""
    frequencies = jnp.pi * 2.0 ** jnp.arange(count, dtype=jnp.float32)
    angles = (z[:, :, None] * frequencies[None, None, :]).reshape(z.shape[0], -1)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class MLP(GeneratorNetwork):
    """Residual dense layers with SiLU on points, features of the times, and a label's row.

    Attributes:
      num_classes: label `num_classes` is the null class; with 0 labels are ignored.
      width: units of every hidden layer.
      depth: number of hidden layers.
      frequencies: octaves of Fourier features of the point (arXiv:2006.10739), which sharpen what
        the network can tell apart; 0 for the point alone.
    """

    num_classes: int
    width: int = 256
    depth: int = 4
    frequencies: int = 2
    dtype: Dtype = jnp.float32

    reads = frozenset({"time", "interval", "label", "guidance"})
    axes = 1

    @nn.compact
    def __call__(self, z: jax.Array, condition: Condition, train: bool = False) -> jax.Array:
        """Velocities float32 [B, D] of points z [B, D]; zero before training.

        Args:
          train: has no effect, as there is no dropout.

        Raises:
          ValueError: z is no batch of points, or labels are missing.
        """
        if z.ndim != 2:
            raise ValueError(f"z has shape {z.shape}; an MLP takes points [B, D]")
        times = [
            fourier_features(TIME_SCALE * time, TIME_FEATURES, TIME_MAX_PERIOD)
            for time in condition.times(len(z))
        ]
        features = jnp.concatenate([z, octaves(z, self.frequencies), *times], axis=-1)
        x = nn.Dense(self.width, dtype=self.dtype, name="in")(features)
        if self.num_classes:
            x = x + label_row(condition.label, self.num_classes, self.width).astype(self.dtype)
        if condition.guidance is not None:
            x = x + guidance_row(condition.guidance, self.width).astype(self.dtype)
        for i in range(self.depth):
            x = x + nn.Dense(self.width, dtype=self.dtype, name=f"hidden_{i}")(nn.silu(x))
        out = nn.Dense(z.shape[-1], kernel_init=nn.initializers.zeros, name="out")
        return out(nn.silu(x).astype(jnp.float32))

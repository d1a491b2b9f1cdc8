"""A multilayer perceptron for points, such as mixtures in the plane."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.conditions import Condition, GeneratorNetwork
from models.layers.embeddings import fourier_features, guidance_row, label_row

Dtype = Any

# Angular frequencies of t and h, 16 down to 0.16: a step of 0.05 is visible, yet the derivative in
# t, which MeanFlow trains on, stays moderate.
TIME_FEATURES = 32
TIME_SCALE = 16.0
TIME_MAX_PERIOD = 100.0


def octaves(z: jax.Array, count: int) -> jax.Array:
    """Sines, then cosines, of z [B, D] at frequencies pi, 2 pi, 4 pi, ...: [B, 2 * count * D]."""
    frequencies = jnp.pi * 2.0 ** jnp.arange(count, dtype=jnp.float32)
    angles = (z[:, :, None] * frequencies[None, None, :]).reshape(z.shape[0], -1)  # [B, D F]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class MLP(GeneratorNetwork):
    """Residual dense layers with SiLU on points [B, D], features of the times, and a label's row.

    The output is zero before training.

    Attributes:
      width: units of every hidden layer.
      depth: number of hidden layers.
      frequencies: octaves of Fourier features of the points (arXiv:2006.10739), which let the
        network resolve finer detail; 0 for the points alone.
    """

    width: int = 256
    depth: int = 4
    frequencies: int = 2
    dtype: Dtype = jnp.float32

    reads = frozenset({"time", "interval", "label", "guidance"})
    axes = 1

    @nn.compact
    def __call__(self, z: jax.Array, condition: Condition, train: bool = False) -> jax.Array:
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

"""A multilayer perceptron as the velocity of points, for mixtures in the plane."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.conditioning import label_table, require_labels
from models.dit import fourier_features

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


class MLP(nn.Module):
    """Residual dense layers with SiLU on points, features of the times, and a label's row.

    Attributes:
      num_classes: label `num_classes` is the null class; with 0 labels are ignored.
      width, depth: of the hidden layers.
      frequencies: octaves of Fourier features of the point (arXiv:2006.10739), which sharpen what
        the network can tell apart; 0 for the point alone.
    """

    num_classes: int
    width: int = 256
    depth: int = 4
    frequencies: int = 2
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        z: jax.Array,
        t: jax.Array,
        h: jax.Array,
        labels: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Velocities float32 [B, D] of points z [B, D]; zero before training.

        Args:
          t, h: float32 [B], the time and the length of the interval that ends there.
          labels: int32 [B], 0 to num_classes (the null class).
          train: has no effect, as there is no dropout.

        Raises:
          ValueError: z is no batch of points, or labels are missing.
        """
        if z.ndim != 2:
            raise ValueError(f"z has shape {z.shape}; an MLP takes points [B, D]")
        times = [
            fourier_features(TIME_SCALE * time, TIME_FEATURES, TIME_MAX_PERIOD) for time in (t, h)
        ]
        features = jnp.concatenate([z, octaves(z, self.frequencies), *times], axis=-1)
        x = nn.Dense(self.width, dtype=self.dtype, name="in")(features)
        if self.num_classes:
            row = label_table(self.num_classes, self.width)(
                require_labels(labels, self.num_classes)
            )
            x = x + row.astype(self.dtype)
        for i in range(self.depth):
            x = x + nn.Dense(self.width, dtype=self.dtype, name=f"hidden_{i}")(nn.silu(x))
        out = nn.Dense(z.shape[-1], kernel_init=nn.initializers.zeros, name="out")
        return out(nn.silu(x).astype(jnp.float32))

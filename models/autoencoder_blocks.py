"""The parts of autoencoders: residual blocks, self-attention and resampling of maps [B, H, W, C].

Norms and softmax are float32 whatever `dtype` is.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.layers.attention import attend
from models.layers.convolution import conv3x3, torch_default
from models.layers.dense import Dense
from models.layers.norms import GroupNorm
from models.layers.patches import Merge, Spread
from models.layers.resample import nearest

Dtype = Any

ACTIVATIONS = {"gelu": functools.partial(nn.gelu, approximate=False), "silu": nn.silu}
EPSILON = 1e-6  # of the norms, in MLtools and in latent diffusion

zeros = nn.initializers.zeros


class Style(NamedTuple):
    """What all blocks of a network have in common.

    Attributes:
      kernel: side of the convolutions, odd.
      norm_groups: groups of each norm; they must divide all widths.
      activation: 'gelu' (exact) or 'silu'.
      num_heads: of every attention.
    """

    kernel: int
    norm_groups: int
    activation: str
    num_heads: int
    dtype: Dtype

    def norm(self, name: str) -> GroupNorm:
        """The norm of all blocks, made inside a module."""
        return GroupNorm(1, EPSILON, self.dtype, max_groups=self.norm_groups, name=name)

    def activate(self, x: jax.Array) -> jax.Array:
        return ACTIVATIONS[self.activation](x)

    def conv(self, features: int, name: str, init: Any = torch_default) -> nn.Conv:
        """A convolution that keeps the size, made inside a module."""
        sides = (self.kernel, self.kernel)
        return nn.Conv(
            features, sides, padding=self.kernel // 2, dtype=self.dtype, kernel_init=init, name=name
        )

    def dense(self, features: int, name: str) -> Dense:
        """A 1x1 convolution, made inside a module."""
        return Dense(features, dtype=self.dtype, kernel_init=torch_default, name=name)


class ResBlock(nn.Module):
    """Norm, activation and convolution, twice, plus the input: the input itself before training.

    Attributes:
      features: channels of the output; an input of other channels goes through a dense layer.
    """

    features: int
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, features] from x [B, H, W, C]."""
        style = self.style
        h = style.activate(style.norm("norm1")(x))
        h = style.conv(self.features, "conv1")(h)
        h = style.activate(style.norm("norm2")(h))
        h = style.conv(self.features, "conv2", zeros)(h)
        if x.shape[-1] != self.features:
            x = style.dense(self.features, "skip")(x)
        return x + h


class Attention(nn.Module):
    """Norm and self-attention over all places of a map [B, H, W, C], added to the map.

    The head is the fast index of a channel, as in MLtools: channel c of head h is c * heads + h.
    """

    style: Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels, heads = x.shape[-1], self.style.num_heads
        if channels % heads:
            raise ValueError(f"{heads} heads do not divide a width of {channels}")
        h = self.style.norm("norm")(x)

        def split(name: str) -> jax.Array:
            """A dense layer of h, by heads: [B, T, H, D]."""
            y = self.style.dense(channels, name)(h)
            return jnp.swapaxes(y.reshape(len(x), -1, channels // heads, heads), 2, 3)

        out = attend(split("q"), split("k"), split("v"))
        out = jnp.swapaxes(out, 2, 3).reshape(x.shape)
        return x + self.style.dense(channels, "proj")(out)


# --- resampling ----------------------------------------------------------------------------------


def down_3x3(features: int, dtype: Dtype, name: str) -> nn.Conv:
    """A convolution with stride 2, its input padded on the right and below, made in a module."""
    return nn.Conv(
        features, (3, 3), 2, padding=((0, 1), (0, 1)), dtype=dtype, kernel_init=torch_default,
        name=name,
    )  # fmt: skip


class UpNearest(nn.Module):
    """Each value four times, then a 3x3 convolution.

    It keeps the width, whatever `features` is: the first block of the next level changes it.
    """

    features: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return conv3x3(x.shape[-1], self.dtype, torch_default, "conv")(nearest(x))


# Made from (features, dtype, name=...) inside a module.
DOWNSAMPLING = {"conv2x2": Merge, "conv3x3": down_3x3}
UPSAMPLING = {"transposed": Spread, "nearest": UpNearest}

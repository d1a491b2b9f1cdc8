"""The parts of U-Nets: residual blocks and self-attention over maps [B, H, W, C].

Norms and softmax are float32 whatever `dtype` is, and every operation has a forward-mode
derivative and a reverse-mode one of that.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.layers.attention import attend, split_heads
from models.layers.convolution import conv3x3
from models.layers.dense import Dense
from models.layers.norms import GroupNorm

Dtype = Any
Initializer = nn.initializers.Initializer


class Style(NamedTuple):
    """What all blocks of a network have in common.

    Attributes:
      epsilon: of the norms.
      min_group: the smallest number of channels in a group of a norm.
      film: the condition scales and shifts a map before its second norm, instead of shifting it.
      skip_scale: multiplies every sum of a residual branch and its input.
      kernel_init: of all layers except those below; biases are 0.
      branch_init: of the last layer of a residual branch.
      qkv_init: of the queries, keys and values.
    """

    epsilon: float
    min_group: int
    film: bool
    skip_scale: float
    kernel_init: Initializer
    branch_init: Initializer
    qkv_init: Initializer

    def norm(self, dtype: Dtype, name: str) -> GroupNorm:
        """The group norm of all blocks, made inside a module."""
        return GroupNorm(self.min_group, self.epsilon, dtype, name=name)


class ResBlock(nn.Module):
    """Norm, SiLU and convolution, twice; the condition enters in between; plus the input.

    Attributes:
      features: channels of the output; an input of other channels goes through a dense layer.
      resample: changes the size of the branch, before its first convolution, and of the input,
        which then always goes through a dense layer.
    """

    features: int
    style: Style
    dropout: float
    dtype: Dtype
    resample: Callable[[jax.Array], jax.Array] | None = None

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, train: bool) -> jax.Array:
        """[B, h, w, features] from x [B, H, W, C] and the activated condition [B, D]."""
        style = self.style
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=style.kernel_init)
        h = nn.silu(style.norm(self.dtype, "norm1")(x))
        if self.resample:
            h, x = self.resample(h), self.resample(x)
        h = conv3x3(self.features, self.dtype, style.kernel_init, "conv1")(h)
        parts = dense((1 + style.film) * self.features, name="modulation")(condition)
        parts = parts[:, None, None, :]  # [B, 1, 1, (1 or 2) C]
        if style.film:
            scale, parts = jnp.split(parts, 2, axis=-1)
            h = h * (1 + scale)
        h = nn.silu(style.norm(self.dtype, "norm2")(h + parts))
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        h = conv3x3(self.features, self.dtype, style.branch_init, "conv2")(h)
        if self.resample or x.shape[-1] != self.features:
            x = dense(self.features, name="skip")(x)
        return (x + h) * style.skip_scale


class Attention(nn.Module):
    """Norm and self-attention over all places of a map [B, H, W, C], added to the map.

    Attributes:
      fused: see `attend`.
    """

    num_heads: int
    style: Style
    fused: bool
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels, style = x.shape[-1], self.style
        h = style.norm(self.dtype, "norm")(x)
        qkv = Dense(3 * channels, dtype=self.dtype, kernel_init=style.qkv_init, name="qkv")(h)
        out = attend(*split_heads(qkv, self.num_heads), fused=self.fused).reshape(x.shape)
        out = Dense(channels, dtype=self.dtype, kernel_init=style.branch_init, name="proj")(out)
        return (x + out) * style.skip_scale

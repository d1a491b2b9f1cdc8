"""What U-Nets are built of: residual blocks, self-attention and resampling of maps [B, H, W, C].

Norms and softmax are float32 whatever `dtype` is, and every operation has a forward-mode
derivative and a reverse-mode one of that.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from models.attention import attend
from models.dit import Dense

Dtype = Any
Initializer = nn.initializers.Initializer

MAX_GROUPS = 32  # Wu and He, arXiv:1803.08494


class Style(NamedTuple):
    """What all blocks of a network have in common.

    Attributes:
      epsilon: of the norms.
      min_group: channels that a group of a norm has at least.
      film: the condition scales and shifts a map before its second norm, instead of shifting it.
      skip_scale: multiplies every sum of a residual branch and its input.
      kernel_init: of all layers but those below; biases are 0.
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


def conv3x3(features: int, dtype: Dtype, init: Initializer, name: str, stride: int = 1) -> nn.Conv:
    """A 3x3 convolution, made inside a module; stride 1 keeps the size and 2 halves it."""
    return nn.Conv(
        features, (3, 3), stride, padding=1, dtype=dtype, kernel_init=init, name=name
    )


class GroupNorm(nn.Module):
    """Group norm of [B, H, W, C] with the style's groups, in float32.

    The map itself is never seen as [B, H, W, G, C / G], only its means over space are: on a CPU
    about half the time of flax's layer, forward and backward.
    """

    style: Style
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, channels = x.shape[0], x.shape[-1]
        groups = max(1, min(MAX_GROUPS, channels // self.style.min_group))
        if channels % groups:
            raise ValueError(
                f"{channels} channels are not {groups} equal groups; choose model_channels so "
                f"that up to {MAX_GROUPS} groups divide every width"
            )

        def over_groups(x: jax.Array) -> jax.Array:
            """The mean of each group at each of its channels, [B, 1, 1, C]."""
            means = jnp.mean(x, axis=(1, 2)).reshape(batch, groups, -1)
            means = jnp.mean(means, axis=-1, keepdims=True)
            means = jnp.broadcast_to(means, (batch, groups, channels // groups))
            return means.reshape(batch, 1, 1, channels)

        scale = self.param("scale", nn.initializers.ones, (channels,))[None, None, None]
        bias = self.param("bias", nn.initializers.zeros, (channels,))[None, None, None]
        x = x.astype(jnp.float32)
        x = x - over_groups(x)
        factor = scale * jax.lax.rsqrt(over_groups(jnp.square(x)) + self.style.epsilon)
        return (x * factor + bias).astype(self.dtype)


class ResBlock(nn.Module):
    """Norm, SiLU and convolution, twice; the condition enters in between; plus the input.

    Attributes:
      features: channels of the output; where the input's differ, it goes through a dense layer.
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
        h = nn.silu(GroupNorm(style, self.dtype, name="norm1")(x))
        if self.resample:
            h, x = self.resample(h), self.resample(x)
        h = conv3x3(self.features, self.dtype, style.kernel_init, "conv1")(h)
        parts = dense((1 + style.film) * self.features, name="modulation")(condition)
        parts = parts[:, None, None, :]
        if style.film:
            scale, parts = jnp.split(parts, 2, axis=-1)
            h = h * (1 + scale)
        h = nn.silu(GroupNorm(style, self.dtype, name="norm2")(h + parts))
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        h = conv3x3(self.features, self.dtype, style.branch_init, "conv2")(h)
        if self.resample or x.shape[-1] != self.features:
            x = dense(self.features, name="skip")(x)
        return (x + h) * style.skip_scale


class Attention(nn.Module):
    """Norm and self-attention over all places of a map [B, H, W, C], plus the map.

    Attributes:
      fused: see `attend`.
    """

    num_heads: int
    style: Style
    fused: bool
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        if channels % self.num_heads:
            raise ValueError(f"{self.num_heads} heads do not divide {channels} channels")
        style = self.style
        h = GroupNorm(style, self.dtype, name="norm")(x)
        qkv = Dense(3 * channels, dtype=self.dtype, kernel_init=style.qkv_init, name="qkv")(h)
        qkv = qkv.reshape(batch, height * width, 3, self.num_heads, channels // self.num_heads)
        out = attend(*jnp.moveaxis(qkv, 2, 0), fused=self.fused).reshape(x.shape)
        out = Dense(channels, dtype=self.dtype, kernel_init=style.branch_init, name="proj")(out)
        return (x + out) * style.skip_scale


def downsample(x: jax.Array, taps: tuple[float, ...]) -> jax.Array:
    """Half the size of x [B, H, W, C], smoothed by the filter `taps` along each axis.

    Args:
      taps: an even number of them, such as (1, 3, 3, 1); only their ratios matter. Beyond the
        edges x counts as 0 (Karras et al., arXiv:1912.04958, and EDM, arXiv:2206.00364).
    """
    height, width = x.shape[1:3]
    return _along_both_axes(x, _halving(height, taps), _halving(width, taps))


def upsample(x: jax.Array, taps: tuple[float, ...]) -> jax.Array:
    """Twice the size of x [B, H, W, C]: four times the transpose of `downsample`."""
    height, width = x.shape[1:3]
    return _along_both_axes(x, 2 * _halving(2 * height, taps).T, 2 * _halving(2 * width, taps).T)


def nearest(x: jax.Array) -> jax.Array:
    """Twice the size of x [B, H, W, C], each value four times."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def _halving(size: int, taps: tuple[float, ...]) -> np.ndarray:
    """The matrix [size / 2, size] that filters an axis with `taps` and keeps every second value."""
    if len(taps) % 2:
        raise ValueError(f"a filter of {len(taps)} taps has no middle; give it an even number")
    pad = len(taps) // 2 - 1
    matrix = np.zeros((size // 2, size + 2 * pad), np.float32)
    for i in range(size // 2):
        matrix[i, 2 * i : 2 * i + len(taps)] = taps
    return matrix[:, pad : pad + size] / np.sum(taps, dtype=np.float32)


def _along_both_axes(x: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    """The matrices [P, H] and [Q, W] applied to the axes of x [B, H, W, C]: [B, P, Q, C].

    Batched matrix products leave every axis in place. Halving [64, 32, 32, 128] on two CPU cores
    takes a fifth of the time of shifted sums and a fifteenth of a depthwise convolution's, whose
    gradient takes 25 times as long; doubling takes nearly that of shifted sums.
    """
    batch, height, width, channels = x.shape
    x = _batched(rows, x.reshape(batch, height, width * channels))
    x = _batched(columns, x.reshape(-1, width, channels))
    return x.reshape(batch, rows.shape[0], columns.shape[0], channels)


def _batched(matrix: np.ndarray, x: jax.Array) -> jax.Array:
    """The matrix [P, N] times each of x [M, N, F]: [M, P, F]."""
    copies = jnp.broadcast_to(jnp.asarray(matrix, x.dtype)[None], (x.shape[0], *matrix.shape))
    return jax.lax.batch_matmul(copies, x)

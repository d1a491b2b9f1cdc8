"""Normalisation of tokens and maps, in float32 whatever the dtype of the computation."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Dtype = Any

KINDS = ("batch", "group")
EPSILON = 1e-5
MOMENTUM = 0.9  # of the running statistics; PyTorch's momentum is 1 - 0.9
MAX_GROUPS = 32  # Wu and He, arXiv:1803.08494


def num_groups(channels: int) -> int:
    """The largest divisor of `channels` that is at most 32."""
    return max(n for n in range(1, MAX_GROUPS + 1) if channels % n == 0)


def norm(kind: str, channels: int, train: bool, dtype: Dtype, name: str) -> nn.Module:
    """A layer that normalises [B, H, W, C] in float32 and returns `dtype`.

    Args:
      kind: 'batch' (statistics of the batch in training, otherwise running ones; the running
        variance is the biased one) or 'group' (statistics of each image's groups of channels).

    Raises:
      ValueError: the kind is unknown.
    """
    if kind == "batch":
        # No axis_name: under jit the mean over a batch sharded over devices is the global one.
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=MOMENTUM,
            epsilon=EPSILON,
            dtype=dtype,
            name=name,
        )
    if kind == "group":
        return nn.GroupNorm(num_groups(channels), epsilon=EPSILON, dtype=dtype, name=name)
    raise ValueError(f"norm {kind!r} is not one of {', '.join(KINDS)}")


def instance_norm(x: jax.Array) -> jax.Array:
    """Each channel of each image of x [B, H, W, C] to mean 0 and variance 1, without weights.

    Ulyanov et al., arXiv:1607.08022; the biased variance plus 1e-5, as in PyTorch. What becomes of
    an image depends on that image alone, so it is the same in micro-batches.
    """
    y = x.astype(jnp.float32)
    y = y - jnp.mean(y, axis=(1, 2), keepdims=True)
    variance = jnp.mean(jnp.square(y), axis=(1, 2), keepdims=True)
    return (y * jax.lax.rsqrt(variance + EPSILON)).astype(x.dtype)


def token_norm(kind: str, dtype: Dtype, name: str, parameters: bool = False) -> nn.Module:
    """A layer that normalises the last axis in float32, with epsilon 1e-6, and returns `dtype`.

    Args:
      kind: 'rms' (which always has a weight) or 'layer'.
      parameters: whether a 'layer' norm has a scale and a bias.

    Raises:
      ValueError: the kind is unknown.
    """
    if kind == "rms":
        return RMSNorm(dtype, name=name)
    if kind == "layer":
        return nn.LayerNorm(
            epsilon=1e-6, use_bias=parameters, use_scale=parameters, dtype=dtype, name=name
        )
    raise ValueError(f"norm {kind!r} is not one of rms, layer")


class GroupNorm(nn.Module):
    """Group norm of [B, H, W, C], at most `max_groups` groups of at least `min_group` channels.

    Only the means over space are reshaped to groups, never the map itself: on a CPU this takes
    about half the time of flax's layer, forward and backward. The number of groups is that of the
    published U-Nets and must divide the channels; `num_groups` instead finds one that does.
    """

    min_group: int
    epsilon: float
    dtype: Dtype
    max_groups: int = MAX_GROUPS

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, channels = x.shape[0], x.shape[-1]
        groups = max(1, min(self.max_groups, channels // self.min_group))
        if channels % groups:
            raise ValueError(
                f"{channels} channels do not split into {groups} equal groups; choose "
                f"model_channels so that up to {MAX_GROUPS} groups divide every width"
            )

        def over_groups(x: jax.Array) -> jax.Array:
            """The mean of each group, repeated for each of its channels, [B, 1, 1, C]."""
            means = jnp.mean(x, axis=(1, 2)).reshape(batch, groups, -1)  # [B, G, C / G]
            means = jnp.mean(means, axis=-1, keepdims=True)  # [B, G, 1]
            means = jnp.broadcast_to(means, (batch, groups, channels // groups))
            return means.reshape(batch, 1, 1, channels)

        scale = self.param("scale", nn.initializers.ones, (channels,))[None, None, None]
        bias = self.param("bias", nn.initializers.zeros, (channels,))[None, None, None]
        x = x.astype(jnp.float32)
        x = x - over_groups(x)
        factor = scale * jax.lax.rsqrt(over_groups(jnp.square(x)) + self.epsilon)
        return (x * factor + bias).astype(self.dtype)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + 1e-6) * weight over the last axis."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        weight = self.param("weight", nn.initializers.ones, (x.shape[-1],))
        x = x.astype(jnp.float32)
        normed = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)
        return (normed * jnp.broadcast_to(weight, x.shape)).astype(self.dtype)

"""Normalisation of maps by kind, and the convolution that precedes it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Dtype = Any

KINDS = ("batch", "group")
EPSILON = 1e-5
MOMENTUM = 0.9  # of the running statistics; PyTorch counts the other part, 0.1
MAX_GROUPS = 32  # Wu and He, arXiv:1803.08494

# He et al., arXiv:1502.01852, for ReLU, by what a convolution feeds; a depthwise one counts all
# of its channels, as in torchvision.
kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def num_groups(channels: int) -> int:
    """The largest divisor of `channels` not above 32."""
    return max(n for n in range(1, MAX_GROUPS + 1) if channels % n == 0)


def norm(kind: str, channels: int, train: bool, dtype: Dtype, name: str) -> nn.Module:
    """A layer that normalises [B, H, W, C] in float32 and returns `dtype`.

    Args:
      kind: 'batch' (statistics of the batch in training, running ones else; the running variance
        is the biased one) or 'group' (of an image's groups of channels).

    Raises:
      ValueError: another kind.
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


class ConvNorm(nn.Module):
    """Square convolution without bias, norm, activation; stride 1 keeps the size.

    Attributes:
      groups: of channels that are convolved apart; all of them make it depthwise.
      norm: a kind of `norm`.
      activation: None for none.
    """

    features: int
    kernel: int
    stride: int = 1
    groups: int = 1
    norm: str = "batch"
    activation: Callable[[jax.Array], jax.Array] | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            self.stride,
            padding=self.kernel // 2,
            feature_group_count=self.groups,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=kaiming_normal,
            name="conv",
        )(x)
        x = norm(self.norm, self.features, train, self.dtype, name="norm")(x)
        return x if self.activation is None else self.activation(x)

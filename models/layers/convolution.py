"""Convolutions of maps [B, H, W, C]."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.layers.norms import norm

Dtype = Any
Initializer = nn.initializers.Initializer
HIGHEST = jax.lax.Precision.HIGHEST  # the default is TF32 on recent GPUs, with 11 bits

# He et al., arXiv:1502.01852, for ReLU, by fan-out; that of a depthwise convolution counts all of
# its channels, as in torchvision.
kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# PyTorch's default for the kernels of dense layers and convolutions.
torch_default = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
FAINT = 0.02
FAINT_KINDS = ("xavier", "normal")


def faint_init(kind: str) -> Initializer:
    """The small kernels of CUT, pix2pix and CycleGAN, whose norms undo their scale.

    Args:
      kind: 'xavier' (Glorot's normal distribution with gain 0.02, the default of the CUT release)
        or 'normal' (standard deviation 0.02).

    Raises:
      ValueError: the kind is unknown.
    """
    if kind == "xavier":
        return nn.initializers.variance_scaling(FAINT**2, "fan_avg", "normal")
    if kind == "normal":
        return nn.initializers.normal(FAINT)
    raise ValueError(f"initializer {kind!r} is not one of {', '.join(FAINT_KINDS)}")


def reflected(x: jax.Array, pad: int) -> jax.Array:
    """x [B, H, W, C] with `pad` more pixels on each side, mirrored at the outermost pixels.

    Raises:
      ValueError: the map is too small to be mirrored.
    """
    height, width = x.shape[1:3]
    if min(height, width) <= pad:
        raise ValueError(
            f"a map of {height} x {width} is too small to be mirrored by {pad}; use larger images"
        )
    return jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")


def transposed_conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The transposed convolution of stride 2 that doubles the size of x [B, H, W, C].

    Output pixel o gets kernel[o + 1 - 2 i] times input pixel i along each axis: PyTorch's
    ConvTranspose2d with padding 1 and output padding 1. Pixels of even and odd places are separate
    channels of one 2x2 convolution, as XLA is slow on CPUs where it has to dilate the input.

    Args:
      kernel: [3, 3, C, O].
    """
    channels, features = kernel.shape[2:]
    # Along each axis: [4] -> [2 (input pixel, backwards), 2 (even, odd)].
    kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    kernel = kernel.reshape(2, 2, 2, 2, channels, features)[::-1, :, ::-1]
    kernel = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, channels, 4 * features)
    x = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), ((0, 1), (0, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    batch, height, width, _ = x.shape
    x = x.reshape(batch, height, width, 2, 2, features).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, 2 * height, 2 * width, features)


def conv3x3(features: int, dtype: Dtype, init: Initializer, name: str, stride: int = 1) -> nn.Conv:
    """A 3x3 convolution, created inside a module; stride 1 keeps the size and 2 halves it."""
    return nn.Conv(features, (3, 3), stride, padding=1, dtype=dtype, kernel_init=init, name=name)


class ConvNorm(nn.Module):
    """Square convolution without bias, norm, activation; stride 1 keeps the size.

    Attributes:
      groups: number of groups of channels that are convolved separately; one per channel makes the
        convolution depthwise.
      norm: a kind of `norm`.
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


def windows(
    x: jax.Array, kernel: tuple[int, int], stride: int, padding: tuple[int, int], fill: float = 0.0
) -> Iterator[jax.Array]:
    """The strided views of x [B, H, W, C] under a kernel [kh, kw]: one per tap, row by row."""
    (kh, kw), (ph, pw) = kernel, padding
    x = jnp.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)), constant_values=fill)
    batch, height, width, channels = x.shape
    down, right = (height - kh) // stride * stride + 1, (width - kw) // stride * stride + 1
    for i in range(kh):
        for j in range(kw):
            yield jax.lax.slice(
                x, (0, i, j, 0), (batch, i + down, j + right, channels), (1, stride, stride, 1)
            )


def convolve_by_product(
    x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int]
) -> jax.Array:
    """A convolution as one matrix product over all windows: XLA's own is half as fast on CPUs."""
    size, features = kernel.shape[:2], kernel.shape[3]
    columns = jnp.concatenate(list(windows(x, size, stride, padding)), axis=-1)
    rows, weights = columns.reshape(-1, columns.shape[-1]), kernel.reshape(-1, features)
    flat = jnp.matmul(rows, weights, precision=HIGHEST)  # [B h w, O]
    return flat.reshape(*columns.shape[:3], features)  # [B, h, w, O]


def convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    """Convolves x [B, H, W, C], padded with zeros on both sides, with a kernel [kh, kw, C, O].

    In full float32, for features that scores depend on.
    """

    def native(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            [(p, p) for p in padding],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=HIGHEST,
        )

    by_product = functools.partial(convolve_by_product, stride=stride, padding=padding)
    return jax.lax.platform_dependent(x, kernel, cpu=by_product, default=native)

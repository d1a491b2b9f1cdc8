"""Convolutions of large maps on CPUs, where XLA's gradients of the kernel are slow.

Flax takes `convolution` as an attribute of nn.Conv; parameters and results are the same. Times are
those of two cores with a map of 256 x 256 and the setting of drifting/training/backend.py.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from models.layers.winograd import TAPS, winograd3x3

FEWEST_CHANNELS, MOST_ROWS = 128, 96  # where Winograd's convolutions are faster
NUMBERS = ("NHWC", "HWIO", "NHWC")


def convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    **options: Any,
) -> jax.Array:
    """`jax.lax.conv_general_dilated` of x [B, H, W, C] with a kernel [h, w, C, O].

    On CPUs, float32 convolutions of stride 1 without options get gradients of their own, of any
    order, in reverse mode alone.
    """
    plain = x.dtype == kernel.dtype == jnp.float32 and tuple(strides) == (1, 1)
    plain = plain and not isinstance(padding, str) and x.shape[-1] == kernel.shape[2]
    dilations = (options.get(name) or (1, 1) for name in ("lhs_dilation", "rhs_dilation"))
    if jax.default_backend() != "cpu" or not plain or any(tuple(d) != (1, 1) for d in dilations):
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)
    # With padding of its own, the gradient of the kernel takes up to twice as long.
    return _unpadded(jnp.pad(x, ((0, 0), *padding, (0, 0))), kernel)


@jax.custom_vjp
def _unpadded(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution of x with a kernel, only where it lies inside of x."""
    wide = min(kernel.shape[2:]) >= FEWEST_CHANNELS
    if kernel.shape[:2] == (TAPS, TAPS) and wide and x.shape[1] <= MOST_ROWS:
        return winograd3x3(x, kernel)
    return _native(x, kernel)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _unpadded(x, kernel), (x, kernel)


def _backward(
    saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    height, width, channels, features = kernel.shape
    around = ((0, 0), (height - 1, height - 1), (width - 1, width - 1), (0, 0))
    padded = jnp.pad(gradient, around)
    of_x = _unpadded(padded, kernel[::-1, ::-1].swapaxes(2, 3))
    if features < channels:  # its matrix products have as many columns as the map that slides less
        return of_x, _correlated(padded, x)[::-1, ::-1].swapaxes(2, 3)
    return of_x, _correlated(x, gradient)


_unpadded.defvjp(_forward, _backward)


def _correlated(x: jax.Array, y: jax.Array) -> jax.Array:
    """Sums over y [B, h, w, O] times each window of x [B, H, W, C]: [H-h+1, W-w+1, C, O].

    The axes are put in order here. XLA's CPU backend does so only outside of branches and loops; in
    them a convolution of other axes takes 40 times as long.
    """
    found = _unpadded(x.transpose(3, 1, 2, 0), y.transpose(1, 2, 0, 3))  # [C, H-h+1, W-w+1, O]
    return found.transpose(1, 2, 0, 3)


def _native(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=NUMBERS)

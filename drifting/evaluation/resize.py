"""Images to the 299x299 input of the Inception network, in the ways published scores were made.

Which way matters: between two of them the FID of one generator has moved from 9.90 to 10.85
(Parmar et al., "On Aliased Resizing and Surprising Subtleties in GAN Evaluation",
arXiv:2104.11222). Every way is linear and separable, so it is a pair of small matrices.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from drifting.core.errors import ConfigError, did_you_mean

MODES = {
    # name: (filter, whether x is brought to the network's range as TensorFlow's graph does)
    "clean": ("bicubic", True),
    "legacy_tensorflow": ("bilinear_corner", True),
    "legacy_pytorch": ("bilinear_half_pixel", False),
}
BICUBIC_A = -0.5  # Pillow's


def require_mode(mode: str) -> str:
    """The mode itself.

    Raises:
      ConfigError: there is none of that name; the nearest is named.
    """
    if mode not in MODES:
        raise ConfigError(
            f"unknown FID mode {mode!r}, known: {', '.join(MODES)}{did_you_mean(mode, MODES)}"
        )
    return mode


def resize(images: jax.Array, mode: str, size: int) -> jax.Array:
    """uint8 [B, H, W, C] with C of 1 or 3 to float32 [B, size, size, 3] in [0, 255].

    `clean`: Pillow's antialiased bicubic on floats, clipped, not rounded (clean-fid).
    `legacy_tensorflow`: bilinear without antialiasing, pixel corners at multiples of the ratio
    (TensorFlow 1's resize_bilinear). `legacy_pytorch`: bilinear without antialiasing, pixel
    centres (pytorch-fid). Grey images have their one channel three times.
    """
    kernel, _ = MODES[mode]
    height, width = images.shape[1:3]
    rows, columns = weights(kernel, height, size), weights(kernel, width, size)
    x = images.astype(jnp.float32)
    precision = jax.lax.Precision.HIGHEST
    x = jnp.einsum("ow,bhwc->bhoc", columns, x, precision=precision)
    x = jnp.einsum("oh,bhwc->bowc", rows, x, precision=precision)
    x = jnp.clip(x, 0.0, 255.0)
    return jnp.broadcast_to(x, (*x.shape[:3], 3))


def to_network_range(x: jax.Array, mode: str) -> jax.Array:
    """[0, 255] to about [-1, 1]: the graph's (x - 128) / 128, or pytorch-fid's 2x / 255 - 1."""
    _, as_graph = MODES[mode]
    return (x - 128.0) / 128.0 if as_graph else 2.0 * x / 255.0 - 1.0


@functools.cache
def weights(kernel: str, size_in: int, size_out: int) -> np.ndarray:
    """The matrix [size_out, size_in] that resizes one axis; rows sum to 1."""
    ratio = size_in / size_out
    out = np.zeros((size_out, size_in))
    if kernel == "bicubic":
        for row in range(size_out):
            out[row] = _bicubic_row((row + 0.5) * ratio, max(ratio, 1.0), size_in)
        return out.astype(np.float32)
    shift = 0.5 if kernel == "bilinear_half_pixel" else 0.0
    source = np.maximum((np.arange(size_out) + shift) * ratio - shift, 0.0)
    low = np.minimum(np.floor(source).astype(int), size_in - 1)
    high = np.minimum(low + 1, size_in - 1)
    fraction = source - low
    np.add.at(out, (np.arange(size_out), low), 1.0 - fraction)
    np.add.at(out, (np.arange(size_out), high), fraction)
    return out.astype(np.float32)


def _bicubic_row(centre: float, scale: float, size_in: int) -> np.ndarray:
    """Weights of one output pixel: the kernel widened by `scale`, cut at the border, sum 1."""
    support = 2.0 * scale
    first = max(math.floor(centre - support + 0.5), 0)
    last = min(math.floor(centre + support + 0.5), size_in)
    pixels = np.arange(first, last)
    row = np.zeros(size_in)
    row[pixels] = _bicubic((pixels - centre + 0.5) / scale)
    return row / row.sum()


def _bicubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel, IEEE ASSP 29(6), 1981, with a = -0.5."""
    x, a = np.abs(x), BICUBIC_A
    near = (a + 2.0) * x**3 - (a + 3.0) * x**2 + 1.0
    far = a * (x**3 - 5.0 * x**2 + 8.0 * x - 4.0)
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))

"""Images resized to the 299x299 input of the Inception network, in the ways of published scores.

The choice matters: between two of these modes the FID of one generator moved from 9.90 to 10.85
(Parmar et al., "On Aliased Resizing and Surprising Subtleties in GAN Evaluation",
arXiv:2104.11222). Each mode is linear and separable: one matrix for rows and one for columns.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from drifting.core.errors import ConfigError, did_you_mean

MODES = {
    # name: (method of jax.image, whether x is scaled for the network as TensorFlow's graph does)
    "clean": ("cubic", True),
    "legacy_tensorflow": ("linear", True),
    "legacy_pytorch": ("linear", False),
}


def require_mode(mode: str) -> str:
    """The mode itself.

    Raises:
      ConfigError: the mode is unknown; the error names the nearest one.
    """
    if mode not in MODES:
        raise ConfigError(
            f"unknown FID mode {mode!r}, known: {', '.join(MODES)}{did_you_mean(mode, MODES)}"
        )
    return mode


def resize(images: jax.Array, mode: str, size: int) -> jax.Array:
    """Resizes uint8 [B, H, W, C] with C of 1 or 3 to float32 [B, size, size, 3] in [0, 255].

    `clean`: Pillow's antialiased bicubic on floats, clipped, not rounded (clean-fid).
    `legacy_tensorflow`: bilinear without antialiasing, output pixel i at i * H / size (TensorFlow
    1's resize_bilinear). `legacy_pytorch`: bilinear without antialiasing, pixel centres aligned
    (pytorch-fid). The channel of grey images is repeated three times.
    """
    height, width = images.shape[1:3]
    rows, columns = weights(mode, height, size), weights(mode, width, size)
    x = images.astype(jnp.float32)
    precision = jax.lax.Precision.HIGHEST
    x = jnp.einsum("ow,bhwc->bhoc", columns, x, precision=precision)  # [B, H, size, C]
    x = jnp.einsum("oh,bhwc->bowc", rows, x, precision=precision)  # [B, size, size, C]
    x = jnp.clip(x, 0.0, 255.0)
    return jnp.broadcast_to(x, (*x.shape[:3], 3))


def to_network_range(x: jax.Array, mode: str) -> jax.Array:
    """[0, 255] to about [-1, 1]: the graph's (x - 128) / 128, or pytorch-fid's 2x / 255 - 1."""
    _, as_graph = MODES[mode]
    return (x - 128.0) / 128.0 if as_graph else 2.0 * x / 255.0 - 1.0


@functools.cache
def weights(mode: str, size_in: int, size_out: int) -> np.ndarray:
    """The matrix [size_out, size_in] that resizes one axis; each row sums to 1.

    It is the identity matrix, resized in float64: in float32 jax.image rounds the positions of
    pixels, which moves a 1024x1024 image by up to 0.014 grey levels.
    """
    method, _ = MODES[mode]
    scale, shift = size_out / size_in, 0.0
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        pixels = jnp.eye(size_in)
        if mode == "legacy_tensorflow":
            # Half a pixel from jax.image's grid. Beyond the last pixel jax.image is 0, TensorFlow
            # repeats that pixel.
            shift = 0.5 * (1.0 - scale)
            pixels = jnp.pad(pixels, ((0, 1), (0, 0)), mode="edge")  # [size_in + 1, size_in]
        resized = jax.image.scale_and_translate(
            pixels, (size_out, size_in), (0,), jnp.array([scale]), jnp.array([shift]), method,
            antialias=mode == "clean", precision=jax.lax.Precision.HIGHEST,
        )  # fmt: skip
        return np.asarray(jax.device_get(resized), np.float32)

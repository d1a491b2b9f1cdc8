"""A palette prior: the colours of fakes are spread in CIELAB as those of real images.

The conversion is that of sRGB (IEC 61966-2-1) with its white point D65, and of CIE 1976 L*a*b*
(CIE 15, section 8.2.1).
"""

import jax
import jax.numpy as jnp
import optax

# From linear sRGB to XYZ, by the primaries and the white point of the standard (brucelindbloom.com,
# "RGB/XYZ Matrices"); the sums of its rows are the white point.
TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
DELTA = 6.0 / 29.0  # where the cube root of CIE 1976 passes into a line
RANGE = 100.0  # of lightness; it makes the distance of black and white 1


def palette_loss(fake: jax.Array, real: jax.Array) -> jax.Array:
    """Distance between the mean colours and between the spreads of two batches; a scalar.

    Each batch has six moments: the mean and the standard deviation of L*, a* and b* over all pixels
    of all images. The loss is the mean of their absolute differences, divided by 100.

    Args:
      fake, real: images [B, H, W, 3] in [-1, 1]; the real ones get no gradient.

    Raises:
      ValueError: the images do not have three channels.
    """
    found, wanted = _moments(lab(fake)), jax.lax.stop_gradient(_moments(lab(real)))
    return jnp.mean(jnp.abs(found - wanted)) / RANGE


def lab(images: jax.Array) -> jax.Array:
    """L* in [0, 100], a* and b* of sRGB images [..., 3] in [-1, 1], float32 [..., 3].

    Raises:
      ValueError: there are not three channels.
    """
    if images.shape[-1] != 3:
        raise ValueError(f"colours have three channels, not {images.shape[-1]}")
    matrix = jnp.array(TO_XYZ, jnp.float32)
    matrix = matrix / jnp.sum(matrix, axis=1, keepdims=True)  # relative to the white point
    linear = _linear((images.astype(jnp.float32) + 1.0) / 2.0)
    relative = jnp.einsum("...c,xc->...x", linear, matrix, precision=jax.lax.Precision.HIGHEST)
    x, y, z = jnp.moveaxis(_root(relative), -1, 0)
    return jnp.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def _linear(values: jax.Array) -> jax.Array:
    """Light in [0, 1] from sRGB values in [0, 1]."""
    power = ((jnp.maximum(values, 0.04045) + 0.055) / 1.055) ** 2.4  # no NaN gradient below
    return jnp.where(values <= 0.04045, values / 12.92, power)


def _root(values: jax.Array) -> jax.Array:
    """The cube root; below DELTA^3 the line that continues it, whose slope at 0 is finite."""
    root = jnp.cbrt(jnp.maximum(values, DELTA**3))
    return jnp.where(values > DELTA**3, root, values / (3.0 * DELTA**2) + 4.0 / 29.0)


def _moments(colors: jax.Array) -> jax.Array:
    """Means and standard deviations of the channels of [..., 3], [6]; finite gradients."""
    flat = colors.reshape(-1, 3)
    mean = jnp.mean(flat, axis=0, keepdims=True)
    spread = optax.safe_norm(flat - mean, 0.0, axis=0) / len(flat) ** 0.5
    return jnp.concatenate([mean[0], spread])

"""How close two images are."""

import jax
import jax.numpy as jnp

GREY_LEVELS = 255.0


def psnr(images: jax.Array, others: jax.Array) -> jax.Array:
    """The peak signal-to-noise ratio of uint8 images [B, H, W, C], in dB: [B].

    10 log10(255^2 / mean squared difference). Of identical images it would be infinite: they count
    as if one value differed by one grey level.
    """
    difference = images.astype(jnp.float32) - others.astype(jnp.float32)
    squared = jnp.mean(jnp.square(difference), axis=(1, 2, 3))
    least = 1.0 / images[0].size
    return 10.0 * jnp.log10(GREY_LEVELS**2 / jnp.maximum(squared, least))

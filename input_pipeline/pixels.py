"""The project's only conversions between 8-bit images and values in [-1, 1]."""

import jax
import jax.numpy as jnp


def to_unit(images: jax.Array) -> jax.Array:
    """uint8 images of any shape to float32 in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(images: jax.Array) -> jax.Array:
    """clip(round(127.5 x + 127.5), 0, 255) as uint8; NaN must be refused before."""
    return jnp.clip(jnp.round(127.5 * images + 127.5), 0, 255).astype(jnp.uint8)

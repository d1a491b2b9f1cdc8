"""The one 8-bit rule of the project, both ways; what is no image keeps its values."""

import jax
import jax.numpy as jnp


def to_unit(images: jax.Array) -> jax.Array:
    """uint8 images of any shape to float32 in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(images: jax.Array) -> jax.Array:
    """clip(round(127.5 x + 127.5), 0, 255) as uint8; NaN must have been refused before."""
    return jnp.clip(jnp.round(127.5 * images + 127.5), 0, 255).astype(jnp.uint8)


def to_model(values: jax.Array) -> jax.Array:
    """Stored values as a model sees them: uint8 in [-1, 1], float32 as they are.

    Raises:
      TypeError: another type, for which there is no rule.
    """
    if values.dtype == jnp.uint8:
        return to_unit(values)
    if values.dtype != jnp.float32:
        raise TypeError(f"data are stored as uint8 images or as float32 values, not {values.dtype}")
    return values


def at_rest(values: jax.Array) -> jax.Array:
    """A model's values as they are stored: images [B, H, W, C] as uint8, points [B, D] float32."""
    return values.astype(jnp.float32) if values.ndim == 2 else to_uint8(values)

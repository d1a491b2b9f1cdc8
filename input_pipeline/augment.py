"""Jittable augmentation of images in [-1, 1]."""

import jax
import jax.numpy as jnp


def random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Mirrors each image of [..., H, W, C] left to right with probability 1/2."""
    mirrored = jax.random.bernoulli(key, 0.5, images.shape[:-3])
    return jnp.where(mirrored[..., None, None, None], jnp.flip(images, axis=-2), images)

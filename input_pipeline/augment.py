"""Jittable augmentation of images in [-1, 1]."""

import jax
import jax.numpy as jnp


def random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Mirrors each image of [..., H, W, C] left to right with probability 1/2."""
    mirrored = jax.random.bernoulli(key, 0.5, images.shape[:-3])
    return jnp.where(mirrored[..., None, None, None], jnp.flip(images, axis=-2), images)


def random_crop(key: jax.Array, images: jax.Array, padding: int, fill: float = -1.0) -> jax.Array:
    """Pads each image of [..., H, W, C] on all four sides and crops it to its size at random.

    All (2 * padding + 1)^2 windows are equally likely, independently for each image.

    Args:
      fill: the padding value, in the images' own scale. -1 is black, with which torchvision's
        RandomCrop pads raw pixels. (Code that pads after normalisation pads with 0.)
    """
    height, width, channels = images.shape[-3:]
    flat = images.reshape(-1, height, width, channels)  # [N, H, W, C]
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(flat, sides, constant_values=fill)
    corners = jax.random.randint(key, (len(flat), 2), 0, 2 * padding + 1)

    def window(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), flat.shape[1:])

    return jax.vmap(window)(padded, corners).reshape(images.shape)

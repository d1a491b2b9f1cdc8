"""Jittable augmentation of images in [-1, 1]."""

import jax
import jax.numpy as jnp

from input_pipeline.fit import LUMA


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


def random_resized_crop(key: jax.Array, images: jax.Array, least_scale: float) -> jax.Array:
    """Enlarges a random window of each image of [..., H, W, C] to the size of the image.

    A window has the image's proportions. Its share of the area is uniform in [least_scale, 1], and
    all its places inside the image, between pixels too, are equally likely. The enlargement is
    bilinear; a window of the whole image is the image.

    Args:
      least_scale: in (0, 1].
    """
    height, width, channels = images.shape[-3:]
    flat = images.reshape(-1, height, width, channels)  # [N, H, W, C]
    key_area, key_place = jax.random.split(key)
    area = jax.random.uniform(key_area, (len(flat),), jnp.float32, least_scale, 1.0)
    sides = jnp.sqrt(area)  # of the windows, as shares of the images' sides
    places = jax.random.uniform(key_place, (len(flat), 2))

    def enlarged(image: jax.Array, side: jax.Array, place: jax.Array) -> jax.Array:
        corner = place * (1.0 - side) * jnp.asarray([height, width], jnp.float32)
        scale = jnp.broadcast_to(1.0 / side, (2,))
        return jax.image.scale_and_translate(
            image, image.shape, (0, 1), scale, -corner * scale, "linear", antialias=False
        )

    return jax.vmap(enlarged)(flat, sides, places).reshape(images.shape)


def color_jitter(key: jax.Array, images: jax.Array, amount: float) -> jax.Array:
    """Changes brightness, contrast and saturation of each image of [..., H, W, C], in this order.

    Each by a factor that is uniform in [1 - amount, 1 + amount]: of the distance of all values from
    black, from the image's mean grey value, and from the pixel's own grey value. Values are clipped
    to [-1, 1] after each, as by torchvision's ColorJitter, which takes a random order.

    Args:
      amount: in [0, 1]; at 0 the images stay as they are, up to rounding.
    """
    factors = jax.random.uniform(
        key, (3, *images.shape[:-3], 1, 1, 1), images.dtype, 1.0 - amount, 1.0 + amount
    )
    images = _away_from(jnp.full_like(images, -1.0), images, factors[0])
    mean = jnp.mean(_grey(images), axis=(-3, -2), keepdims=True)
    images = _away_from(mean, images, factors[1])
    return _away_from(_grey(images), images, factors[2])


def _away_from(origin: jax.Array, images: jax.Array, factor: jax.Array) -> jax.Array:
    """Values at `factor` times their distance from the origin, within [-1, 1]."""
    return jnp.clip(origin + factor * (images - origin), -1.0, 1.0)


def _grey(images: jax.Array) -> jax.Array:
    """Grey values [..., H, W, 1] of images with one or three channels."""
    if images.shape[-1] == 1:
        return images
    return sum(weight * images[..., i : i + 1] for i, weight in enumerate(LUMA.tolist()))

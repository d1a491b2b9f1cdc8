"""Differentiable augmentation of the images that a discriminator sees, real and fake.

Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training" (arXiv:2006.10738), with
the strengths of the authors' code (github.com/mit-han-lab/data-efficient-gans).
"""

import jax
import jax.numpy as jnp

from input_pipeline import augment

POLICY = ("color", "translation", "cutout")


def diff_augment(key: jax.Array, images: jax.Array, policy: tuple[str, ...] = POLICY) -> jax.Array:
    """Augments square images [B, S, S, C] in [-1, 1], each with draws of its own.

    Args:
      policy: the parts to apply, in this order. They are not limited to [-1, 1].
        color: `color`, translation: `translate`, cutout: `cut_out`.

    Raises:
      KeyError: a part is unknown.
    """
    for number, name in enumerate(policy):
        images = _PARTS[name](jax.random.fold_in(key, number), images)
    return images


def color(key: jax.Array, images: jax.Array) -> jax.Array:
    """Brightness, saturation and contrast of images [B, H, W, C].

    Adds a number in [-1/2, 1/2]; multiplies by one in [0, 2] the difference of each channel to the
    mean of its pixel; then by one in [1/2, 3/2] the difference to the mean of the image.
    """
    shift, saturation, contrast = jax.random.uniform(key, (3, len(images), 1, 1, 1), images.dtype)
    images = images + (shift - 0.5)
    images = _scaled(images, 2.0 * saturation, -1)
    return _scaled(images, 0.5 + contrast, (1, 2, 3))


def _scaled(images: jax.Array, factor: jax.Array, axes: int | tuple[int, ...]) -> jax.Array:
    """Multiplies the differences to the mean over these axes."""
    mean = jnp.mean(images, axis=axes, keepdims=True)
    return mean + factor * (images - mean)


def translate(key: jax.Array, images: jax.Array) -> jax.Array:
    """Moves images [B, S, S, C] by at most round(S / 8) pixels each way, over zeros."""
    return augment.random_crop(key, images, _rounded(images.shape[1], 0.125), fill=0.0)


def cut_out(key: jax.Array, images: jax.Array) -> jax.Array:
    """Sets to zero a square of half the side S of images [B, S, S, C], as far as it is inside.

    The middle of the square is anywhere on the image, so a quarter of it is always inside.
    """
    side = images.shape[1]
    half = _rounded(side, 0.5)
    middles = jax.random.randint(key, (2, len(images), 1), 0, side + 1 - half % 2)
    first = middles - half // 2
    places = jnp.arange(side)[None, None]
    rows, columns = (places >= first) & (places < first + half)  # bool [B, S] each
    return jnp.where((rows[:, :, None] & columns[:, None, :])[..., None], 0.0, images)


def _rounded(side: int, share: float) -> int:
    return int(share * side + 0.5)


_PARTS = {"color": color, "translation": translate, "cutout": cut_out}

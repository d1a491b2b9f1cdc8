"""What methods on batches of labelled images share: their stream, augmented, and cross entropy."""

from typing import Any

import jax
import jax.numpy as jnp

from drifting.core.errors import ConfigError
from input_pipeline import augment, resident


def batch(
    data: resident.Resident,
    step: jax.Array,
    key: jax.Array,
    *,
    seed: int,
    batch_size: int,
    crop_padding: int,
    flip: bool,
) -> tuple[jax.Array, jax.Array]:
    """Batch number `step` of an endless stream of shuffled epochs, augmented.

    Args:
      key: the step's own, for the augmentation; the order of an epoch is that of the run's `seed`.

    Returns:
      images [batch_size, H, W, C] in [-1, 1] and labels [batch_size].
    """
    images, labels = resident.epoch_batch(data, jax.random.key(seed), step, batch_size)
    return augmented(key, images, crop_padding, flip), labels


def augmented(key: jax.Array, images: jax.Array, crop_padding: int, flip: bool) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1], randomly cropped after black padding, randomly mirrored."""
    key_crop, key_flip = jax.random.split(key)
    if crop_padding:
        images = augment.random_crop(key_crop, images, crop_padding)
    return augment.random_flip(key_flip, images) if flip else images


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Of float32 logits [B, K] with int labels [B]: [B], in nats.

    Label smoothing (Szegedy et al., arXiv:1512.00567) moves `smoothing` of the probability to a
    uniform distribution over all K classes.
    """
    target = jax.nn.one_hot(labels, logits.shape[-1])
    target = (1.0 - smoothing) * target + smoothing / logits.shape[-1]
    return -jnp.sum(target * jax.nn.log_softmax(logits), axis=-1)


def require_batch(image_set: Any, batch_size: int) -> None:
    """Raises ConfigError where a data set is smaller than a batch."""
    if not 1 <= batch_size <= len(image_set):
        raise ConfigError(
            f"config.method.batch_size = {batch_size}, but {image_set.source} has "
            f"{len(image_set)} images to train on"
        )

"""What a step draws: images of both domains, augmented, and keys for everything else."""

from typing import NamedTuple

import jax

from drifting.core import state as state_lib
from drifting.core.method import SOURCE, TARGET
from drifting.methods.cut.settings import Settings
from input_pipeline import augment
from input_pipeline.data import Data


class Keys(NamedTuple):
    """The keys of a step, one for each kind of draw."""

    source: jax.Array  # augmentation of the images
    target: jax.Array
    mirror: jax.Array  # flip equivariance
    places: jax.Array  # of patches
    judged: jax.Array  # what the discriminator sees in its own update
    shown: jax.Array  # and in the generator's

    @classmethod
    def of(cls, key: jax.Array) -> "Keys":
        return cls(*jax.random.split(key, len(cls._fields)))


def images(
    data: Data, step: jax.Array, keys: Keys, settings: Settings, *, seed: int, flip: bool
) -> tuple[jax.Array, jax.Array]:
    """Batch number `step` of the endless stream of either domain, augmented.

    Args:
      seed: of the run; determines the orders.

    Returns:
      Source and target images, [B, H, W, C] in [-1, 1] each.
    """

    def batch(label: int, key: jax.Array) -> jax.Array:
        real = data.next_of_class(jax.random.key(seed), step, label, settings.batch_size)
        return augmented(key, state_lib.shard_batch(real), settings, flip)

    return batch(SOURCE, keys.source), batch(TARGET, keys.target)


def augmented(key: jax.Array, images: jax.Array, settings: Settings, flip: bool) -> jax.Array:
    """Images [B, H, W, C], each cropped, mirrored and changed in colour by draws of its own."""
    key_crop, key_flip, key_color = jax.random.split(key, 3)
    if settings.crop_scale < 1.0:
        images = augment.random_resized_crop(key_crop, images, settings.crop_scale)
    if flip:
        images = augment.random_flip(key_flip, images)
    if settings.color_jitter:
        images = augment.color_jitter(key_color, images, settings.color_jitter)
    return images

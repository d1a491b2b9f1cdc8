"""Shared by the methods that train on batches of samples: config keys, batches, cross entropy."""

import dataclasses

import jax
import jax.numpy as jnp

from drifting.core.errors import ConfigError
from drifting.core.facts import DataFacts
from drifting.core.method import MethodSettings
from drifting.methods import gradients
from input_pipeline import augment
from input_pipeline.data import Data


@dataclasses.dataclass(frozen=True)
class BatchSettings(MethodSettings):
    """The config.method keys of a method that takes one batch per step."""

    batch_size: int = 256  # samples per step
    micro_batches: int = 1  # parts whose gradients are accumulated: less memory, the same step

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError if the data are less than a batch, or its parts would be unequal."""
        if self.batch_size < 1:
            raise ConfigError(
                f"config.method.batch_size = {self.batch_size} is less than 1; increase it"
            )
        if facts.num_samples is not None and self.batch_size > facts.num_samples:
            raise ConfigError(
                f"config.method.batch_size = {self.batch_size}, but {facts.source} has "
                f"{facts.num_samples} {facts.space.noun} to train on: choose from 1 to that many"
            )
        what = f"config.method.batch_size = {self.batch_size}"
        gradients.require_division(self.micro_batches, self.batch_size, what)

    @property
    def images_per_step(self) -> int:
        return self.batch_size


def augmented_batch(
    data: Data,
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
      seed: of the run; determines the order of every epoch.
      key: of this step, for the augmentation.

    Returns:
      values [B, ...] as models see them, and labels [B].
    """
    values, labels = data.next_batch(jax.random.key(seed), step, batch_size)
    return augmented(key, values, crop_padding, flip), labels


def augmented(key: jax.Array, images: jax.Array, crop_padding: int, flip: bool) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1], padded with black, randomly cropped and mirrored."""
    key_crop, key_flip = jax.random.split(key)
    if crop_padding:
        images = augment.random_crop(key_crop, images, crop_padding)
    return augment.random_flip(key_flip, images) if flip else images


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """The cross entropy of float32 logits [B, K] and int labels [B], in nats: [B].

    -sum_k q_k log p_k with q = (1 - smoothing) onehot(label) + smoothing / K: label smoothing
    (Szegedy et al., arXiv:1512.00567).
    """
    target = jax.nn.one_hot(labels, logits.shape[-1])  # [B, K]
    target = (1.0 - smoothing) * target + smoothing / logits.shape[-1]
    return -jnp.sum(target * jax.nn.log_softmax(logits), axis=-1)

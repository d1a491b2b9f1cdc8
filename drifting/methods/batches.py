"""What methods on batches of labelled samples share: their keys, their batches, cross entropy."""

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
    """The keys of a method that takes one batch a step."""

    batch_size: int = 256  # samples a step
    micro_batches: int = 1  # parts of a batch whose gradients add up: less memory, the same step

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError where there is less than a batch of data, or parts that differ."""
        if not 1 <= self.batch_size <= facts.num_samples:
            raise ConfigError(
                f"config.method.batch_size = {self.batch_size}, but {facts.source} has "
                f"{facts.num_samples} {facts.space.noun} to train on"
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
      key: the step's own, for the augmentation; the order of an epoch is that of the run's `seed`.

    Returns:
      values [batch_size, ...] as a model sees them, and labels [batch_size].
    """
    values, labels = data.next_batch(jax.random.key(seed), step, batch_size)
    return augmented(key, values, crop_padding, flip), labels


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

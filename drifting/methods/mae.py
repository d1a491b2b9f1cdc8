"""Masked autoencoding: an encoder learns by filling in squares cut out of its images.

As Deng et al., "Generative Modeling via Drifting" (arXiv:2602.04770), pretrain the encoder in whose
features they drift: a share of squares drawn for each image, reconstruction of what was masked, and
optionally a classification loss beside it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from drifting.core import optimizers
from drifting.core import state as state_lib
from drifting.core.errors import ConfigError
from drifting.core.facts import DataFacts
from drifting.core.method import FeatureEncoder, Grid, Scored
from drifting.core.state import TrainState
from drifting.methods import batches, gradients
from drifting.methods.batches import BatchSettings
from input_pipeline.data import Data
from models.activations import Activations

SHOWN = 8  # images of the visual summary


@dataclasses.dataclass(frozen=True)
class Settings(BatchSettings):
    """The keys of config.method."""

    crop_padding: int = 4  # black pixels on each side before a random crop; 0: no crop
    mask_patch: int = 4  # side of a masked square, in pixels
    mask_ratio_min: float = 0.5  # the share of masked squares is drawn for each image
    mask_ratio_max: float = 0.75
    classification_weight: float = 0.0  # of a classification loss; reconstruction weighs the rest

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError for a value that cannot be; the key is named."""
        super().check(facts)
        size = facts.space.shape[0]
        if self.mask_patch < 1 or size % self.mask_patch:
            raise ConfigError(
                f"config.method.mask_patch = {self.mask_patch} does not divide "
                f"config.data.image_size = {size}"
            )
        if not 0.0 <= self.mask_ratio_min <= self.mask_ratio_max <= 1.0:
            raise ConfigError(
                f"config.method.mask_ratio_min and mask_ratio_max = {self.mask_ratio_min}, "
                f"{self.mask_ratio_max}: needs 0 <= min <= max <= 1"
            )
        if not 0.0 <= self.classification_weight <= 1.0:
            raise ConfigError(
                f"config.method.classification_weight = {self.classification_weight} is not in "
                "[0, 1]"
            )


def square_mask(
    key: jax.Array, shape: tuple[int, int, int], patch: int, low: float, high: float
) -> jax.Array:
    """Which pixels are hidden, 0 or 1: float32 [B, H, W, 1] for images of `shape` [B, H, W].

    Each image has a share of its own, uniform on [low, high]; each square of side `patch` is hidden
    with that probability, independently.
    """
    batch, height, width = shape
    key_share, key_squares = jax.random.split(key)
    share = jax.random.uniform(key_share, (batch, 1, 1), minval=low, maxval=high)
    draws = jax.random.uniform(key_squares, (batch, height // patch, width // patch))
    squares = (draws < jnp.broadcast_to(share, draws.shape)).astype(jnp.float32)
    return jnp.repeat(jnp.repeat(squares, patch, axis=1), patch, axis=2)[..., None]


def reconstruction_loss(images: jax.Array, filled: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean squared error over the hidden values of each image: [B]. 0 where nothing is hidden."""
    error = jnp.mean(jnp.square(filled - images), axis=-1, keepdims=True)
    return jnp.sum(mask * error, axis=(1, 2, 3)) / jnp.maximum(jnp.sum(mask, axis=(1, 2, 3)), 1.0)


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedAutoencoding(Scored, FeatureEncoder):
    """An encoder that learns beside the decoder that fills its images in."""

    settings_type = Settings
    family = "encoder"
    default_network = "mae_resnet"
    network_name = "autoencoder"
    default_optimizers: ClassVar[Mapping[str, Any]] = {
        "optimizer": optimizers.AdamW(schedule="cosine", learning_rate=1e-3, weight_decay=0.05)
    }
    defaults: ClassVar[Mapping[str, Any]] = {"data.num_val": 5000, "data.flip": True}
    best_score = None  # the loss goes on falling: the newest checkpoint is the one to take

    # --- training --------------------------------------------------------------------------------

    def init(self, key: jax.Array) -> TrainState:
        """A fresh state at step 0."""
        images = jnp.zeros((1, *self.space.shape))
        variables = self.network.init(key, images, train=False, method="reconstruct")
        params = {"autoencoder": variables["params"]}
        return TrainState.create(params, self.optimizers, self.decays)

    def train_step(
        self, state: TrainState, data: Data, key: jax.Array, frozen: Mapping[str, Any]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One step on the next batch of an endless stream of shuffled epochs."""
        del frozen
        key_augment, key_mask = jax.random.split(key)
        images, labels = batches.augmented_batch(
            data, state.step, key_augment, seed=self.seed, batch_size=self.batch_size,
            crop_padding=self.settings.crop_padding, flip=self.flip,
        )  # fmt: skip

        def mean_loss(params, images, labels, key):
            losses = self._losses(params, images, labels, key)
            means = jax.tree.map(jnp.mean, losses)
            return means["loss"], means

        gradient = jax.grad(mean_loss, has_aux=True)
        grads, metrics = gradients.mean_over_chunks(
            lambda rows, key: gradient(state.params["autoencoder"], *rows, key),
            (images, labels), key_mask, self.settings.micro_batches,
        )  # fmt: skip
        metrics |= {"grad_norm": optax.tree.norm(grads), "lr": self.schedule(state.step)}
        state = state_lib.optimize(state, {"autoencoder": grads}, self.optimizers)
        return state_lib.count(state_lib.average(state, self.decays)), metrics

    def _losses(
        self, params: Any, images: jax.Array, labels: jax.Array, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Each loss and the accuracy of each image: [B]."""
        images = state_lib.shard_batch(images)
        mask = self._mask(key, images)
        filled, activations = self._fill(params, images, mask)
        reconstruction = reconstruction_loss(images, filled, mask)
        weight = self.settings.classification_weight
        if not weight:
            return {"loss": reconstruction}
        classification = batches.cross_entropy(activations.logits, labels)
        return {
            "loss": weight * classification + (1.0 - weight) * reconstruction,
            "reconstruction": reconstruction,
            "classification": classification,
            "accuracy": (jnp.argmax(activations.logits, axis=-1) == labels).astype(jnp.float32),
        }

    def _mask(self, key: jax.Array, images: jax.Array) -> jax.Array:
        s = self.settings
        return square_mask(key, images.shape[:3], s.mask_patch, s.mask_ratio_min, s.mask_ratio_max)

    def _fill(self, params: Any, images: jax.Array, mask: jax.Array) -> Any:
        """Hidden values are 0, the middle grey, as released."""
        seen = images * (1.0 - mask)
        return self.network.apply({"params": params}, seen, train=True, method="reconstruct")

    # --- scores and pictures ---------------------------------------------------------------------

    def tally(
        self,
        state: TrainState,
        images: jax.Array,
        labels: jax.Array,
        weight: jax.Array,
        key: jax.Array,
    ) -> dict[str, jax.Array]:
        """Sums of each loss over images [B, H, W, C] of weight [B], by the averaged weights."""
        losses = self._losses(state.weights("autoencoder"), images, labels, key)
        return {"count": jnp.sum(weight), **{k: jnp.sum(weight * v) for k, v in losses.items()}}

    def scores(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """The mean of each loss."""
        return {k: float(v / sums["count"]) for k, v in sums.items() if k != "count"}

    def summaries(
        self, state: TrainState, key: jax.Array, data: Data, frozen: Mapping[str, Any]
    ) -> dict[str, Grid]:
        """Rows of images, what the network sees of them, and how it fills them in."""
        del frozen
        key_draw, key_mask = jax.random.split(key)
        images, _ = data.draw(key_draw, SHOWN)
        mask = self._mask(key_mask, images)
        filled, _ = self._fill(state.weights("autoencoder"), images, mask)
        seen = images * (1.0 - mask)
        return {"reconstructions": Grid(jnp.stack([images, seen, seen + mask * filled]))}

    # --- as an encoder ---------------------------------------------------------------------------

    def encoder(self, state: TrainState) -> Any:
        """Averaged weights, without the decoder's."""
        averaged = state.weights("autoencoder")
        return {k: v for k, v in averaged.items() if k != "decoder"}

    def encode(self, parameters: Any, images: jax.Array) -> Activations:
        """Activations for whole images [B, H, W, C] in [-1, 1]."""
        return self.network.apply({"params": parameters}, images, train=False)

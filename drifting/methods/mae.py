"""Masked autoencoding: an encoder learns by filling in masked squares of its images.

This is how Deng et al., "Generative Modeling via Drifting" (arXiv:2602.04770), pretrain the encoder
whose features samples drift in. A share of squares, drawn per image, is masked, and

    loss = w CE(classify(m x), label) + (1 - w) sum_hidden |decode(m x) - x|^2 / number_hidden,

where m is 0 in masked squares and w is `classification_weight`.
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
    mask_ratio_min: float = 0.5  # bounds of the share of masked squares, drawn per image
    mask_ratio_max: float = 0.75
    classification_weight: float = 0.0  # w; the reconstruction has weight 1 - w

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError, naming the key, for a value out of range."""
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
    """1 for hidden pixels, else 0: float32 [B, H, W, 1] for images of `shape` (B, H, W).

    Each square of side `patch` is hidden independently with its image's probability, which is
    uniform on [low, high].
    """
    batch, height, width = shape
    key_share, key_squares = jax.random.split(key)
    share = jax.random.uniform(key_share, (batch, 1, 1), minval=low, maxval=high)
    draws = jax.random.uniform(key_squares, (batch, height // patch, width // patch))
    squares = (draws < jnp.broadcast_to(share, draws.shape)).astype(jnp.float32)  # [B, H/p, W/p]
    return jnp.repeat(jnp.repeat(squares, patch, axis=1), patch, axis=2)[..., None]  # [B, H, W, 1]


def reconstruction_loss(images: jax.Array, filled: jax.Array, mask: jax.Array) -> jax.Array:
    """The mean squared error over the hidden values of each image, [B]; 0 if none is hidden."""
    error = jnp.mean(jnp.square(filled - images), axis=-1, keepdims=True)  # [B, H, W, 1]
    return jnp.sum(mask * error, axis=(1, 2, 3)) / jnp.maximum(jnp.sum(mask, axis=(1, 2, 3)), 1.0)


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedAutoencoding(Scored, FeatureEncoder):
    """An encoder, trained with a decoder that fills in what is masked."""

    settings_type = Settings
    family = "encoder"
    default_network = "mae_resnet"
    network_name = "autoencoder"
    default_optimizers: ClassVar[Mapping[str, Any]] = {
        "optimizer": optimizers.AdamW(schedule="cosine", learning_rate=1e-3, weight_decay=0.05)
    }
    defaults: ClassVar[Mapping[str, Any]] = {"data.num_val": 5000, "data.flip": True}
    best_score = None  # the loss keeps falling, so the newest checkpoint is the best

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
        """The losses and the accuracy of each image, [B] each."""
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
        """Images filled in, and activations; hidden values are set to 0 (grey), as released."""
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
        """Sums of the losses over images [B, H, W, C], weighted by [B], of the EMA weights."""
        losses = self._losses(state.weights("autoencoder"), images, labels, key)
        return {"count": jnp.sum(weight), **{k: jnp.sum(weight * v) for k, v in losses.items()}}

    def scores(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """The mean of each loss."""
        return {k: float(v / sums["count"]) for k, v in sums.items() if k != "count"}

    def summaries(
        self, state: TrainState, key: jax.Array, data: Data, frozen: Mapping[str, Any]
    ) -> dict[str, Grid]:
        """Rows: images, their visible parts, and the same with masked squares filled in."""
        del frozen
        key_draw, key_mask = jax.random.split(key)
        images, _ = data.draw(key_draw, SHOWN)
        mask = self._mask(key_mask, images)
        filled, _ = self._fill(state.weights("autoencoder"), images, mask)
        seen = images * (1.0 - mask)
        rows = jnp.stack([images, seen, seen + mask * filled])  # [3, SHOWN, H, W, C]
        return {"reconstructions": Grid(rows)}

    # --- as an encoder ---------------------------------------------------------------------------

    def encoder(self, state: TrainState) -> Any:
        """EMA weights, without the decoder's."""
        averaged = state.weights("autoencoder")
        return {k: v for k, v in averaged.items() if k != "decoder"}

    def encode(self, parameters: Any, images: jax.Array) -> Activations:
        """Activations for unmasked images [B, H, W, C] in [-1, 1]."""
        return self.network.apply({"params": parameters}, images, train=False)

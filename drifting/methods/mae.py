"""Masked autoencoding: an encoder learns by filling in masked squares of its images.

This is how Deng et al., "Generative Modeling via Drifting" (arXiv:2602.04770), pretrain the encoder
whose features samples drift in. A share of squares, drawn per image, is masked, and

    loss = w CE(classify(m x), label) + (1 - w) sum_hidden |decode(m x) - x|^2 / number_hidden,

where m is 0 in masked squares, the sum is over hidden places, |.|^2 is over their channels, and w
is `classification_weight`: from the first step, or only in the last ones.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from drifting.core import durations, optimizers
from drifting.core import state as state_lib
from drifting.core.errors import ConfigError
from drifting.core.facts import DataFacts
from drifting.core.method import FeatureEncoder, Grid, Scored
from drifting.core.networks import Encoder
from drifting.core.state import TrainState
from drifting.methods import batches, gradients
from drifting.methods.batches import BatchSettings
from input_pipeline.data import Data
from input_pipeline.space import Pixels
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
    # w is 0 until the last steps and then rises linearly for the warm-up, both as released. 0: w
    # from the first step.
    classification_last_steps: int = 0
    classification_warmup_steps: int = 1000

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
        for key in ("classification_last_steps", "classification_warmup_steps"):
            if vars(self)[key] < 0:
                raise ConfigError(f"config.method.{key} = {vars(self)[key]} is less than 0")
        if self.crop_padding and not isinstance(facts.space, Pixels):
            raise ConfigError(
                f"config.method.crop_padding = {self.crop_padding} pads with black, which "
                f"{facts.space.noun} do not have; set config.method.crop_padding=0"
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
    """The mean squared distance over the hidden places of each image, [B]; 0 if none is hidden.

    A distance is over all channels of a place, as in lambertae/drifting (models/mae_model.py).
    """
    error = jnp.sum(jnp.square(filled - images), axis=-1, keepdims=True)  # [B, H, W, 1]
    return jnp.sum(mask * error, axis=(1, 2, 3)) / jnp.maximum(jnp.sum(mask, axis=(1, 2, 3)), 1.0)


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedAutoencoding(Scored, FeatureEncoder):
    """An encoder, trained with a decoder that fills in what is masked.

    Attributes:
      total_steps: of the run, from whose end `classification_last_steps` are counted.
    """

    total_steps: int = dataclasses.field(default=0, kw_only=True)

    settings_type = Settings
    family = "encoder"
    default_network = "mae_resnet"
    network_name = "autoencoder"
    default_optimizers: ClassVar[Mapping[str, Any]] = {
        "optimizer": optimizers.AdamW(schedule="cosine", learning_rate=1e-3, weight_decay=0.05)
    }
    defaults: ClassVar[Mapping[str, Any]] = {"data.num_val": 5000, "data.flip": True}
    best_score = None  # the loss keeps falling, so the newest checkpoint is the best
    streams = True

    @classmethod
    def from_config(
        cls, config: Any, facts: DataFacts, frozen: Mapping[str, Encoder] | None = None
    ) -> "MaskedAutoencoding":
        """See `Method.from_config`."""
        method = super().from_config(config, facts, frozen)
        total = durations.to_steps(config.train, "total", method.images_per_step, facts.num_samples)
        last = method.settings.classification_last_steps
        if last > total:
            raise ConfigError(
                f"config.method.classification_last_steps = {last} is more than the run's {total} "
                "steps; lower it, or set 0 to classify from the first step"
            )
        return dataclasses.replace(method, total_steps=total)

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
            losses = self._losses(params, images, labels, key, state.step)
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

    def classification_weight(self, step: jax.Array) -> float | jax.Array:
        """w at a step, which counts from 0."""
        s = self.settings
        if not s.classification_last_steps:
            return s.classification_weight
        since = step - (self.total_steps - s.classification_last_steps)
        rise = jnp.clip(since / max(1, s.classification_warmup_steps), 0.0, 1.0)
        return s.classification_weight * rise

    def _losses(
        self, params: Any, images: jax.Array, labels: jax.Array, key: jax.Array, step: jax.Array
    ) -> dict[str, jax.Array]:
        """The losses and the accuracy of each image at a step, [B] each."""
        images = state_lib.shard_batch(images)
        mask = self._mask(key, images)
        filled, activations = self._fill(params, images, mask)
        reconstruction = reconstruction_loss(images, filled, mask)
        if not self.settings.classification_weight:
            return {"loss": reconstruction}
        weight = self.classification_weight(step)
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
        losses = self._losses(state.weights("autoencoder"), images, labels, key, state.step)
        return {"count": jnp.sum(weight), **{k: jnp.sum(weight * v) for k, v in losses.items()}}

    def scores(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """The mean of each loss."""
        return {k: float(v / sums["count"]) for k, v in sums.items() if k != "count"}

    def summaries(
        self, state: TrainState, key: jax.Array, data: Data, frozen: Mapping[str, Any]
    ) -> dict[str, Grid]:
        """Rows: samples, their visible parts, and the same with masked squares filled in."""
        key_draw, key_mask = jax.random.split(key)
        images, _ = data.draw(key_draw, min(SHOWN, data.num_rows))
        mask = self._mask(key_mask, images)
        filled, _ = self._fill(state.weights("autoencoder"), images, mask)
        seen = images * (1.0 - mask)
        rows = jnp.stack([images, seen, seen + mask * filled])  # [3, N, H, W, C]
        return {"reconstructions": Grid(self.space.to_picture(rows, frozen))}

    # --- as an encoder ---------------------------------------------------------------------------

    def encoder(self, state: TrainState) -> Any:
        """EMA weights, without the decoder's."""
        averaged = state.weights("autoencoder")
        return {k: v for k, v in averaged.items() if k != "decoder"}

    def encode(self, parameters: Any, images: jax.Array) -> Activations:
        """Activations for unmasked images [B, H, W, C] in [-1, 1]."""
        return self.network.apply({"params": parameters}, images, train=False)

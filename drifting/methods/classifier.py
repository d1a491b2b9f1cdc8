"""Supervised classification: SGD on augmented images, scored on held-out images."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from drifting.core import optimizers
from drifting.core import state as state_lib
from drifting.core.errors import ConfigError, one_of
from drifting.core.facts import DataFacts
from drifting.core.method import BestScore, FeatureEncoder, Grid, Scored
from drifting.core.networks import Encoder
from drifting.core.state import TrainState
from drifting.methods import batches, gradients
from drifting.methods.batches import BatchSettings
from input_pipeline.data import Data
from models.activations import Activations

GRID = 8  # rows and columns of the training images shown


@dataclasses.dataclass(frozen=True)
class Settings(BatchSettings):
    """The keys of config.method."""

    batch_size: int = 128  # images per step
    crop_padding: int = 4  # black pixels on each side before a random crop; 0: no crop
    label_smoothing: float = 0.0
    # Batch normalisation in micro-batches. exact: refused, as no part knows the whole batch.
    # per_part: each part is normalised by its own statistics, and moves the running averages in
    # turn, as a PyTorch loop with accumulated gradients does. Another training than in one part.
    micro_batches_norm: str = "exact"

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError, naming the key, for a value out of range."""
        super().check(facts)
        one_of("method.micro_batches_norm", self.micro_batches_norm, ("exact", "per_part"))
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ConfigError(
                f"config.method.label_smoothing = {self.label_smoothing} is not in [0, 1)"
            )


def macro_f1(confusion: np.ndarray) -> float:
    """The mean over classes of F1 = 2 TP / (2 TP + FP + FN); 0 for a class that never occurs.

    Args:
      confusion: counts [K, K] by true and predicted class.
    """
    hits = np.diag(confusion)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float(np.mean(2 * hits / np.maximum(total, 1)))


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier(Scored, FeatureEncoder):
    """An image network trained on labels."""

    settings_type = Settings
    family = "classifier"
    default_network = "resnet18"
    network_name = "classifier"
    default_optimizers: ClassVar[Mapping[str, Any]] = {"optimizer": optimizers.SGD()}
    defaults: ClassVar[Mapping[str, Any]] = {
        "ema_decay": 0.0, "data.num_val": 5000, "data.flip": True
    }  # fmt: skip
    best_score = BestScore("val_accuracy", largest=True)

    @classmethod
    def from_config(
        cls, config: Any, facts: DataFacts, frozen: Mapping[str, Encoder] | None = None
    ) -> "Classifier":
        """See `Method.from_config`; batch normalisation in parts has to be asked for by name."""
        method = super().from_config(config, facts, frozen)
        settings = method.settings
        exact = settings.micro_batches_norm == "exact"
        if settings.micro_batches > 1 and exact and _has_statistics(method):
            raise ConfigError(
                f"config.method.micro_batches = {settings.micro_batches} would change training: "
                "batch normalisation would see each part by itself. Set it to 1 and use a smaller "
                "config.method.batch_size or more devices, set config.model.norm='group', or set "
                "config.method.micro_batches_norm='per_part' to accept that"
            )
        return method

    # --- state -----------------------------------------------------------------------------------

    def init(self, key: jax.Array) -> TrainState:
        """A fresh state at step 0.

        It includes the channel statistics of the training images, so that an encoder needs
        nothing but a checkpoint.
        """
        variables = self.network.init(key, jnp.zeros((1, *self.space.shape)), train=False)
        statistics = variables.get("batch_stats", {})
        mean, std = jnp.asarray(self.facts.mean), jnp.asarray(self.facts.std)
        extra = {"batch_stats": statistics, "channels": {"mean": mean, "std": std}}
        params = {"classifier": variables["params"]}
        state = TrainState.create(params, self.optimizers, self.decays, extra)
        if not self.ema_decay:
            return state
        rest = {**state.ema_rest, "batch_stats": jax.tree.map(jnp.zeros_like, statistics)}
        extra["ema_batch_stats"] = jax.tree.map(jnp.array, statistics)
        return state.replace(ema_rest=rest, extra=extra)

    # --- training --------------------------------------------------------------------------------

    def train_step(
        self, state: TrainState, data: Data, key: jax.Array, frozen: Mapping[str, Any]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One step on the next batch of an endless stream of shuffled epochs."""
        del frozen
        key_augment, key_dropout = jax.random.split(key)
        images, labels = batches.augmented_batch(
            data, state.step, key_augment, seed=self.seed, batch_size=self.batch_size,
            crop_padding=self.settings.crop_padding, flip=self.flip,
        )  # fmt: skip
        images = standardized(images, state.extra["channels"])
        params, statistics = state.params["classifier"], state.extra["batch_stats"]
        gradient = jax.grad(self._loss, has_aux=True)

        def part(statistics, rows, key):
            grads, (metrics, statistics) = gradient(params, statistics, *rows, key)
            return (grads, metrics), statistics

        (grads, metrics), statistics = gradients.carried_over_chunks(
            part, statistics, (images, labels), key_dropout, self.settings.micro_batches
        )
        metrics |= {"grad_norm": optax.tree.norm(grads), "lr": self.schedule(state.step)}
        state = state_lib.optimize(state, {"classifier": grads}, self.optimizers)
        state = self._average_statistics(state_lib.average(state, self.decays), statistics)
        return state_lib.count(state), metrics

    def _average_statistics(self, state: TrainState, statistics: Any) -> TrainState:
        """The state with new batch statistics, and their moving average if one is kept."""
        extra, rest = {**state.extra, "batch_stats": statistics}, dict(state.ema_rest)
        if self.ema_decay:
            share = state_lib.ema_share(self.decays["classifier"], state.step)
            extra["ema_batch_stats"], rest["batch_stats"] = state_lib.ema_update(
                extra["ema_batch_stats"], rest["batch_stats"], statistics, share
            )
        return state.replace(extra=extra, ema_rest=rest)

    def _loss(self, params, statistics, images, labels, key):
        images, labels = state_lib.shard_batch(images), state_lib.shard_batch(labels)
        found, updated = self.network.apply(
            {"params": params, "batch_stats": statistics},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        loss = jnp.mean(batches.cross_entropy(found.logits, labels, self.settings.label_smoothing))
        accuracy = jnp.mean(jnp.argmax(found.logits, axis=-1) == labels)
        return loss, ({"loss": loss, "accuracy": accuracy}, updated.get("batch_stats", {}))

    # --- scores ----------------------------------------------------------------------------------

    def tally(
        self,
        state: TrainState,
        images: jax.Array,
        labels: jax.Array,
        weight: jax.Array,
        key: jax.Array,
    ) -> dict[str, jax.Array]:
        """Sums over images [B, H, W, C] in [-1, 1], weighted by `weight` [B], of the EMA weights.

        Returns:
          `loss`, the sum of cross entropies without smoothing, and `confusion` [K, K], counts by
          true and predicted class.
        """
        del key
        logits = self.encode(self.encoder(state), state_lib.shard_batch(images)).logits
        loss = jnp.sum(weight * batches.cross_entropy(logits, labels))
        # int32, because float32 counts are exact only up to 2^24.
        confusion = jnp.zeros((self.num_classes, self.num_classes), jnp.int32)
        predicted = jnp.argmax(logits, axis=-1)
        confusion = confusion.at[labels, predicted].add(weight.astype(jnp.int32))
        return {"loss": loss, "confusion": confusion}

    def scores(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """The loss in nats, the accuracy, and the mean F1 score over classes."""
        confusion = sums["confusion"]
        count = confusion.sum()
        return {
            "loss": float(sums["loss"] / count),
            "accuracy": float(np.trace(confusion) / count),
            "macro_f1": macro_f1(confusion),
        }

    def summaries(
        self, state: TrainState, key: jax.Array, data: Data, frozen: Mapping[str, Any]
    ) -> dict[str, Grid]:
        """Training images as the network sees them."""
        del state, frozen
        key_draw, key_augment = jax.random.split(key)
        images, _ = data.draw(key_draw, GRID * GRID)
        images = batches.augmented(key_augment, images, self.settings.crop_padding, self.flip)
        images = images.reshape(GRID, GRID, *self.space.shape)  # [GRID, GRID, H, W, C]
        return {"augmented": Grid(images)}

    # --- as an encoder ---------------------------------------------------------------------------

    def encoder(self, state: TrainState) -> dict[str, Any]:
        """EMA weights, their batch statistics, and the mean and deviation of each channel."""
        return {
            "params": state.weights("classifier"),
            "batch_stats": state.extra.get("ema_batch_stats", state.extra["batch_stats"]),
            "channels": state.extra["channels"],
        }

    def encode(self, parameters: dict[str, Any], images: jax.Array) -> Activations:
        """Activations for images [B, H, W, C] in [-1, 1]."""
        variables = {k: parameters[k] for k in ("params", "batch_stats")}
        x = standardized(images, parameters["channels"])
        return self.network.apply(variables, x, train=False)


def standardized(images: jax.Array, channels: dict[str, jax.Array]) -> jax.Array:
    """Images [B, H, W, C] whose channels have mean 0 and deviation 1 over the training set."""
    shape = (1, 1, 1, -1)
    return (images - channels["mean"].reshape(shape)) / channels["std"].reshape(shape)


def _has_statistics(method: Classifier) -> bool:
    shapes = jax.eval_shape(method.init, jax.random.key(0))
    return bool(jax.tree.leaves(shapes.extra["batch_stats"]))

"""Supervised classification: SGD on augmented images, scored on held-out ones."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from drifting.core import config as config_lib
from drifting.core import state as state_lib
from drifting.core.errors import ConfigError, one_of
from drifting.core.state import TrainState
from drifting.methods import labelled
from input_pipeline import resident
from models import classifiers, norms
from models.activations import Activations

GRID = 8  # rows and columns of the training images shown


def macro_f1(confusion: np.ndarray) -> float:
    """The mean over classes of F1 = 2 TP / (2 TP + FP + FN); 0 for a class that never occurs.

    Args:
      confusion: counts [K, K], true class by predicted class.
    """
    hits = np.diag(confusion)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float(np.mean(2 * hits / np.maximum(total, 1)))


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """See `from_config` for where each value comes from and configs/base.py for what it means."""

    network: nn.Module
    image_shape: tuple[int, int, int]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    ema_decay: float
    seed: int
    flip: bool
    batch_size: int
    micro_batches: int
    crop_padding: int
    label_smoothing: float

    best_score = "val_accuracy"

    @classmethod
    def from_config(cls, config: Any, facts: Any) -> "Classifier":
        """Builds the method.

        Raises:
          ConfigError: a value of the config is outside what it can be; the key is named.
        """
        values = config.method.to_dict()
        values.pop("name")
        total = config_lib.to_steps(
            config.train, "total", config.method.batch_size, facts.num_images
        )
        optimizer, schedule = state_lib.make_optimizer(config.optimizer, total)
        method = cls(
            network=_network(config, facts),
            image_shape=facts.image_shape,
            num_classes=facts.num_classes,
            mean=facts.mean,
            std=facts.std,
            optimizer=optimizer,
            schedule=schedule,
            ema_decay=config.ema_decay,
            seed=config.seed,
            flip=config.data.flip,
            **values,
        )
        method._check()
        return method

    def _check(self) -> None:
        if self.micro_batches < 1 or self.batch_size % self.micro_batches:
            raise ConfigError(
                f"config.method.micro_batches = {self.micro_batches} does not divide "
                f"config.method.batch_size = {self.batch_size}"
            )
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ConfigError(
                f"config.method.label_smoothing = {self.label_smoothing} is not in [0, 1)"
            )
        if self.micro_batches > 1 and _has_statistics(self):
            raise ConfigError(
                f"config.method.micro_batches = {self.micro_batches} with batch normalisation "
                "would normalise each part apart: not the training of the whole batch. Set "
                "config.model.norm='group', or a smaller config.method.batch_size, or use more "
                "devices"
            )

    @property
    def images_per_step(self) -> int:
        return self.batch_size

    @property
    def optimizers(self) -> dict[str, optax.GradientTransformation]:
        return {"classifier": self.optimizer}

    def check_data(self, image_set: Any) -> None:
        """Raises ConfigError where the training part is smaller than a batch."""
        labelled.require_batch(image_set, self.batch_size)

    # --- state -----------------------------------------------------------------------------------

    def init(self, key: jax.Array) -> TrainState:
        """A fresh state at step 0.

        The channel statistics of the training images travel with it, so that a checkpoint is all
        that an encoder needs.
        """
        variables = self.network.init(key, jnp.zeros((1, *self.image_shape)), train=False)
        statistics = variables.get("batch_stats", {})
        extra = {
            "batch_stats": statistics,
            "ema_batch_stats": jax.tree.map(jnp.array, statistics),
            "channels": {"mean": jnp.asarray(self.mean), "std": jnp.asarray(self.std)},
        }
        return TrainState.create({"classifier": variables["params"]}, self.optimizers, extra)

    # --- training --------------------------------------------------------------------------------

    def train_step(
        self, state: TrainState, data: resident.Resident, key: jax.Array, frozen: Any = None
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One step on the next batch of an endless stream of shuffled epochs."""
        del frozen
        key_augment, key_dropout = jax.random.split(key)
        images, labels = labelled.batch(
            data, state.step, key_augment, seed=self.seed, batch_size=self.batch_size,
            crop_padding=self.crop_padding, flip=self.flip,
        )  # fmt: skip
        images = standardized(images, state.extra["channels"])
        params, statistics = state.params["classifier"], state.extra["batch_stats"]
        grads, (metrics, statistics) = self._gradient(
            params, statistics, images, labels, key_dropout
        )
        metrics |= {"grad_norm": optax.tree.norm(grads), "lr": self.schedule(state.step)}
        average = state_lib.ema_update(
            state.extra["ema_batch_stats"], statistics, self.ema_decay
        )
        extra = {**state.extra, "batch_stats": statistics, "ema_batch_stats": average}
        grads = {"classifier": grads}
        state = state_lib.apply_gradients(state, grads, self.optimizers, self.ema_decay, extra)
        return state, metrics

    def _gradient(self, params, statistics, images, labels, key):
        """Gradient of the mean loss over the batch, and (metrics, new statistics).

        Micro-batches are equally large and their means are averaged: the whole batch's gradient up
        to rounding. They have no batch statistics to carry (see `_check`).
        """
        gradient = jax.grad(self._loss, has_aux=True)
        if self.micro_batches == 1:
            return gradient(params, statistics, images, labels, key)

        def add_part(total, part):
            grads, (metrics, _) = gradient(params, statistics, *part)
            mean = jax.tree.map(lambda x: x / self.micro_batches, (grads, metrics))
            return jax.tree.map(jnp.add, total, mean), None

        def in_parts(x):
            return x.reshape(self.micro_batches, -1, *x.shape[1:])

        zero = (jax.tree.map(jnp.zeros_like, params), {"loss": 0.0, "accuracy": 0.0})
        zero = jax.tree.map(jnp.asarray, zero)
        rows = (in_parts(images), in_parts(labels), jax.random.split(key, self.micro_batches))
        (grads, metrics), _ = jax.lax.scan(add_part, zero, rows)
        return grads, (metrics, statistics)

    def _loss(self, params, statistics, images, labels, key):
        images, labels = state_lib.shard_batch(images), state_lib.shard_batch(labels)
        found, updated = self.network.apply(
            {"params": params, "batch_stats": statistics},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        loss = jnp.mean(labelled.cross_entropy(found.logits, labels, self.label_smoothing))
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
        """Sums over images [B, H, W, C] in [-1, 1] of weight [B], by the averaged weights.

        Returns:
          `loss`, a sum of cross entropies without smoothing, and `confusion` [K, K], counts of
          true class by predicted class.
        """
        del key
        logits = self.encode(self.encoder(state), state_lib.shard_batch(images)).logits
        loss = jnp.sum(weight * labelled.cross_entropy(logits, labels))
        # int32 counts: float32 ones are exact to 2^24 alone.
        confusion = jnp.zeros((self.num_classes, self.num_classes), jnp.int32)
        predicted = jnp.argmax(logits, axis=-1)
        return {
            "loss": loss,
            "confusion": confusion.at[labels, predicted].add(weight.astype(jnp.int32)),
        }

    def scores(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """Loss in nats, accuracy, and the mean F1 over classes."""
        confusion = sums["confusion"]
        count = confusion.sum()
        return {
            "loss": float(sums["loss"] / count),
            "accuracy": float(np.trace(confusion) / count),
            "macro_f1": macro_f1(confusion),
        }

    def summaries(self, state: TrainState, key: jax.Array, data: Any) -> dict[str, jax.Array]:
        """Training images as the network sees them: [8, 8, H, W, C]."""
        del state
        key_draw, key_augment = jax.random.split(key)
        images, _ = resident.batch(data, key_draw, GRID * GRID)
        images = labelled.augmented(key_augment, images, self.crop_padding, self.flip)
        return {"augmented": images.reshape(GRID, GRID, *self.image_shape)}

    # --- as an encoder ---------------------------------------------------------------------------

    def encoder(self, state: TrainState) -> dict[str, Any]:
        """Averaged weights, their batch statistics, and the channels' mean and deviation."""
        return {
            "params": state.ema_params["classifier"],
            "batch_stats": state.extra["ema_batch_stats"],
            "channels": state.extra["channels"],
        }

    def encode(self, parameters: dict[str, Any], images: jax.Array) -> Activations:
        """Activations for images [B, H, W, C] in [-1, 1]."""
        variables = {k: parameters[k] for k in ("params", "batch_stats")}
        x = standardized(images, parameters["channels"])
        return self.network.apply(variables, x, train=False)


def standardized(images: jax.Array, channels: dict[str, jax.Array]) -> jax.Array:
    """Each channel of [B, H, W, C] to mean 0 and deviation 1 over the training images."""
    shape = (1, 1, 1, -1)
    return (images - channels["mean"].reshape(shape)) / channels["std"].reshape(shape)


def _network(config: Any, facts: Any) -> nn.Module:
    one_of("model.norm", config.model.norm, norms.KINDS)
    if config.model.stem is not None:
        one_of("model.stem", config.model.stem, classifiers.STEMS)
    try:
        return classifiers.create(
            config.model.name,
            num_classes=facts.num_classes,
            image_size=facts.image_shape[0],
            norm=config.model.norm,
            width=config.model.width,
            stem=config.model.stem,
            dtype=jnp.dtype(config.precision),
        )
    except ValueError as error:
        raise ConfigError(f"config.model: {error}") from error


def _has_statistics(method: Classifier) -> bool:
    shapes = jax.eval_shape(method.init, jax.random.key(0))
    return bool(jax.tree.leaves(shapes.extra["batch_stats"]))

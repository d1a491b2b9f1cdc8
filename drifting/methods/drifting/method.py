"""The method: a generator, the field that its samples follow, and the training step."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from drifting.core import durations, optimizers
from drifting.core import state as state_lib
from drifting.core.errors import ConfigError
from drifting.core.facts import DataFacts
from drifting.core.method import Generator, Grid, Scatter
from drifting.core.networks import Encoder
from drifting.core.state import TrainState
from drifting.fields import kernel, pairs
from drifting.flows.paths import broadcast
from drifting.methods import features as feature_lib
from drifting.methods import shown
from drifting.methods.drifting import draws, regression, targets
from drifting.methods.drifting.draws import Inputs, Keys, Step
from drifting.methods.drifting.learned_field import FieldSettings, LearnedField, Networks
from drifting.methods.drifting.settings import Settings
from drifting.methods.features import FeatureFunction
from input_pipeline.data import Data
from input_pipeline.queue import SampleQueue
from models.conditions import STYLE_TOKENS, Condition

DROPOUT = 13  # folded into the key of a step for the network's dropout


def extrapolate(
    generate: Callable[..., jax.Array],
    noise: jax.Array,
    labels: jax.Array,
    null_label: int,
    cfg_scale: jax.Array,
    style: jax.Array,
    null_style: jax.Array,
) -> jax.Array:
    """Guidance by two passes, x_null + s (x_class - x_null): [B, H, W, C].

    The label is dropped here, not by the network: in jaysarva/drifting-model it was dropped only
    in training mode, so guidance had no effect on its samples.
    """
    conditional = generate(noise, labels, cfg_scale, style)
    null = generate(noise, jnp.full_like(labels, null_label), cfg_scale, null_style)
    return null + broadcast(cfg_scale, null) * (conditional - null)


@dataclasses.dataclass(frozen=True, eq=False)
class Drifting(Generator):
    """A one-step generator and the field that its samples follow.

    Attributes:
      features: the features of images in whose space samples drift.
      field: the learned field; None for the kernel field.
    """

    features: FeatureFunction = feature_lib.pixels
    field: LearnedField | None = None

    settings_type = Settings
    family = "generator"
    default_network = "drift_dit"
    network_name = "generator"
    sections: ClassVar[Mapping[str, Any]] = {"field": FieldSettings()}
    default_optimizers: ClassVar[Mapping[str, Any]] = {
        "optimizer": optimizers.AdamW(),
        "field_optimizer": optimizers.AdamW(learning_rate=1e-3, warmup_steps=100),
    }
    # Sampling needs no field, and a run with the kernel field may be resumed with a learned one.
    replaceable = ("field",)
    streams = True

    @classmethod
    def from_config(
        cls, config: Any, facts: DataFacts, frozen: Mapping[str, Encoder] | None = None
    ) -> "Drifting":
        """See `Method.from_config`; also builds the features and a learned field for them."""
        method = super().from_config(config, facts, frozen)
        settings, encoder = method.settings, (frozen or {}).get("encoder")
        features = feature_lib.pixels
        if encoder:
            features = feature_lib.of_encoder(
                encoder.encode, settings.encoder_features, settings.encoder_every_block
            )
        method = dataclasses.replace(method, features=features)
        if settings.field == "learned":
            total = durations.to_steps(
                config.train, "total", settings.images_per_step, facts.num_samples
            )
            dimensions = feature_lib.dimensions(
                features, encoder and encoder.parameters, facts.space.shape
            )
            field = LearnedField.from_config(config, dimensions, total)
            sizes = settings.num_generated, settings.num_positives, settings.negatives
            field.settings.check_sets(*sizes)
            both = {**method.optimizers, "field": field.optimizer}
            method = dataclasses.replace(method, field=field, optimizers=both)
        settings.check_draws(facts, method.num_drawn)
        return method

    @property
    def num_drawn(self) -> int:
        """Positives per class and step, including those for training a learned field."""
        return self.settings.num_positives * (self.field.draws if self.field else 1)

    @property
    def stream_batch(self) -> int:
        """A streamed batch is what is pushed into the queue."""
        return self.settings.queue_push

    # --- state -----------------------------------------------------------------------------------

    def init(self, key: jax.Array) -> TrainState:
        """A fresh state at step 0."""
        labels, scale = jnp.zeros((1,), jnp.int32), jnp.ones((1,))
        condition = Condition(
            label=labels, guidance=scale, style=jnp.zeros((1, STYLE_TOKENS), jnp.int32)
        ).only(self.network.reads)
        noise = jnp.zeros((1, *self.space.shape))
        params = {"generator": self.network.init(key, noise, condition)["params"]}
        extra = {}
        if self.settings.queue_size:
            extra["queue"] = SampleQueue.create(
                self.num_classes, self.settings.queue_size, self.space
            )
        if self.settings.queue_unconditional:
            size = self.settings.queue_unconditional
            extra["unconditional"] = SampleQueue.create(1, size, self.space)
        if self.field:
            params["field"] = self.field.init(jax.random.fold_in(key, 1))
        return TrainState.create(params, self.optimizers, self.decays, extra)

    # --- training --------------------------------------------------------------------------------

    def train_step(
        self, state: TrainState, data: Data, key: jax.Array, frozen: Mapping[str, Any]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One step of algorithm 1. Metrics are scalars.

        Args:
          data: a resident data set, or a batch of a stream (which needs `queue_size`).
          key: of this step, fold_in(base_key, step).
          frozen: the encoder's parameters as `encoder`, if there is one.
        """
        s, keys = self.settings, Keys.of(key)
        classes = draws.classes(s, self.num_classes, keys.classes)
        real, extra = draws.real(s, self.num_drawn, self.flip, data, state.extra, keys, classes)
        cfg_scale = draws.cfg_scales(
            keys.cfg_scale, s.classes_per_step, s.cfg_min, s.cfg_max, s.cfg_power,
            s.cfg_share_at_one,
        )  # fmt: skip
        inputs = draws.inputs(s, self.facts, keys, classes, cfg_scale)
        dropout = jax.random.fold_in(key, DROPOUT)
        step = Step(inputs, real, cfg_scale, dropout, frozen.get("encoder"))
        loss, grads, field, metrics = self._loss_and_grads(state, step)
        metrics = {
            "loss": loss,
            **metrics,
            "grad_norm": optax.tree.norm(grads),
            "lr": self.schedule(state.step),
        }
        grads = {"generator": grads}
        if field:
            state = state.replace(
                params={**state.params, "field": field.params},
                opt_state={**state.opt_state, "field": field.opt_state},
            )
            if field.grads is not None:
                grads = optimizers.clip_together(
                    grads | {"field": field.grads}, self.field.clip_norm
                )
        state = state_lib.optimize(state, grads, self.optimizers)
        state = state_lib.average(state, self.decays).replace(extra=extra)
        return state_lib.count(state), metrics

    def _generate(
        self, params: Any, inputs: Inputs, dropout_key: jax.Array | None = None
    ) -> jax.Array:
        """Images [B, H, W, C] of the network, in training mode if a key is given."""
        noise, condition = jax.tree.map(state_lib.shard_batch, inputs)
        train = dropout_key is not None
        return self.network.apply(
            {"params": params},
            noise,
            condition.only(self.network.reads),
            train=train,
            rngs={"dropout": dropout_key} if train else None,
        )

    def phi(self, feature_params: Any, images: jax.Array) -> tuple[jax.Array, ...]:
        """Feature stacks [S, B, D], in the coordinates that the field and the loss share."""
        stacks = tuple(pairs.as_float(f) for f in self.features(feature_params, images))
        if self.settings.form == "sphere":
            stacks = tuple(kernel.l2_normalize(f) for f in stacks)
        return stacks

    def _loss_and_grads(
        self, state: TrainState, step: Step
    ) -> tuple[jax.Array, Any, Networks | None, dict[str, jax.Array]]:
        """The loss, the gradient of the generator's parameters, the new field, and metrics."""
        s, field = self.settings, None
        if self.field:
            field = Networks(state.params["field"], state.opt_state["field"])

        def phi_of(params: Any, inputs: Inputs, key: jax.Array) -> regression.Stacks:
            return self.phi(step.encoder, self._generate(params, inputs, key))

        def targets_of(phi: regression.Stacks) -> tuple[regression.Targets, tuple]:
            found, *aux = targets.of_stacks(
                s, self.field, field, self._stacks(phi, step), step.cfg_scale, step.real.valid
            )
            return found, tuple(aux)

        loss, grads, (field, metrics) = regression.loss_and_grads(
            phi_of, targets_of, state.params["generator"], step.inputs, step.dropout_key,
            regression.weights(step.real.valid, s.num_generated), s.micro_batches,
            mean=s.form == "sphere",  # each form as it was released
        )  # fmt: skip
        return loss, grads, field, metrics

    def _stacks(self, phi: regression.Stacks, step: Step) -> list[targets.FeatureStacks]:
        """For each feature, the stacks of samples, positives and unconditional negatives."""
        positives = self.phi(step.encoder, _flat(step.real.positives))
        negatives = (None,) * len(phi)
        if step.real.unconditional is not None:
            negatives = self.phi(step.encoder, _flat(step.real.unconditional))
        return list(zip(phi, positives, negatives, strict=True))

    # --- sampling --------------------------------------------------------------------------------

    def nfe(self, cfg_scale: float) -> int:
        """Network evaluations per sample: 1, or 2 with guidance in the `sphere` form."""
        return 1 if self._is_conditional(cfg_scale) else 2

    def _is_conditional(self, cfg_scale: float | jax.Array) -> bool:
        """Whether one conditional pass is enough."""
        return self.settings.form == "distance" or _is_one(cfg_scale)

    def sample(
        self,
        state: TrainState,
        key: jax.Array,
        labels: jax.Array,
        cfg_scale: float | jax.Array = 1.0,
        ema: bool = True,
    ) -> jax.Array:
        """Samples [B, ...] of `labels` [B], approximately in [-1, 1], in `nfe` evaluations.

        In the `distance` form the guidance scale is a condition of the network. The `sphere` form
        extrapolates from the null class, which `label_dropout` trains.

        Raises:
          ConfigError: `cfg_scale` is not 1 and the run was trained without guidance.
        """
        self._require_guidance(cfg_scale)
        params = state.weights("generator", ema)
        key_noise, key_style, key_null = jax.random.split(key, 3)
        batch = labels.shape[0]
        noise = jax.random.normal(key_noise, (batch, *self.space.shape))
        scale = jnp.full((batch,), cfg_scale, jnp.float32)
        style = draws.style(key_style, batch)

        def generate(noise, labels, scale, style):
            condition = Condition(label=labels, guidance=scale, style=style)
            return self._generate(params, Inputs(noise, condition))

        if self._is_conditional(cfg_scale):
            return generate(noise, labels, scale, style)
        null_style = draws.style(key_null, batch)
        return extrapolate(generate, noise, labels, self.num_classes, scale, style, null_style)

    def _require_guidance(self, cfg_scale: float | jax.Array) -> None:
        """Raises ConfigError for a guidance scale that the run was not trained for."""
        if _is_one(cfg_scale):
            return
        told = "guidance" in self.network.reads and self.settings.cfg_max > 1.0
        if self.settings.form == "distance" and not told:
            raise ConfigError(
                "this run's network does not read the guidance scale, or saw none in training "
                f"(config.method.cfg_max = {self.settings.cfg_max:g}), so cfg_scale must be 1 "
                "(config.eval.cfg_scale, --cfg_scale)"
            )
        if self.settings.form == "sphere" and not self.settings.label_dropout:
            raise ConfigError(
                "this run has config.method.label_dropout = 0, so its null class is untrained "
                "and cfg_scale must be 1 (config.eval.cfg_scale, --cfg_scale)"
            )

    def summaries(
        self, state: TrainState, key: jax.Array, data: Data, frozen: Mapping[str, Any]
    ) -> dict[str, Grid | Scatter]:
        """A picture of samples, see `shown.samples`."""
        return shown.samples(self, state, key, data, frozen)


def _is_one(cfg_scale: float | jax.Array) -> bool:
    return isinstance(cfg_scale, float | int) and cfg_scale == 1.0


def _flat(images: jax.Array) -> jax.Array:
    """Merges classes and images, [C, N, H, W, C] to [C * N, H, W, C], sharded over devices."""
    return state_lib.shard_batch(images.reshape(-1, *images.shape[2:]))  # [C * N, H, W, C]

"""Drifting: a generator trained to follow the drift of its own samples.

Algorithm 1 of Deng et al., "Generative Modeling via Drifting" (arXiv:2602.04770): draw classes,
generate a set of each, draw real positives of the same classes, evaluate the field on features,
regress the generator's features on stopgrad(phi + V). The field is the kernel field, or one that is
learned beside the generator (learned_field.py).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from drifting.core import durations, optimizers
from drifting.core import state as state_lib
from drifting.core.errors import ConfigError, one_of
from drifting.core.method import DataFacts, Encoder, Generator, Grid, MethodSettings, Scatter
from drifting.core.state import TrainState
from drifting.fields import kernel, pairs
from drifting.flows.paths import broadcast
from drifting.methods import features as feature_lib
from drifting.methods import gradients, shown
from drifting.methods.drifting.learned_field import (
    FieldSettings,
    LearnedField,
    Networks,
    Surroundings,
)
from drifting.methods.features import FeatureFunction
from input_pipeline import augment
from input_pipeline.data import Data
from input_pipeline.decoding import DataError
from input_pipeline.queue import SampleQueue
from input_pipeline.space import Pixels
from models.conditions import STYLE_CODES, STYLE_TOKENS, Condition

NORMALIZATIONS = ("sphere", "distance")
FIELDS = ("kernel", "learned")
DROPOUT = 13  # folded into a step's key, for the network's own dropout


@dataclasses.dataclass(frozen=True)
class Settings(MethodSettings):
    """The keys of config.method."""

    field: str = "kernel"  # or learned, which config.field and config.field_optimizer describe
    # distance: as released by the paper's authors, guidance by unconditional negatives.
    # sphere: on L2-normalised features, guidance by extrapolation from the null class.
    normalization: str = "distance"
    temperatures: tuple[float, ...] = (0.02, 0.05, 0.2)
    # The network whose features drift: the workdir of a classifier or masked autoencoder, or
    # torch:<network>:<file> with torchvision's weights. None: pixels.
    encoder: str | None = None
    # pooled: the mean of each stage's map, the seed's way. locations: every place of the maps,
    # their means and deviations over patches, and the pixels, the paper's way.
    encoder_features: str = "pooled"
    encoder_every_block: int = 2  # locations: maps of every k-th block as well; 0: of none
    classes_per_step: int = 0  # 0: all classes
    num_generated: int = 32  # a class and step
    num_positives: int = 32  # a class and step
    num_unconditional: int = 16  # real negatives of any class, a class and step (distance)
    scale_per_label: bool = False  # distance scale of each class, not of the whole batch
    drop_self_pairs: bool = False  # a sample's affinity to itself is 0, not 1e-3
    cfg_min: float = 1.0
    cfg_max: float = 3.0
    cfg_power: float = 3.0  # p(s) ~ s^-power
    cfg_share_at_one: float = 0.5
    label_dropout: float = 0.1
    queue_size: int = 0  # images a class in a sample queue (128 originally); 0: whole set
    queue_push: int = 64  # fresh images a step into the queue
    micro_batches: int = 1  # exact; more saves memory and costs one more forward pass

    def completed(self, facts: DataFacts) -> "Settings":
        classes = self.classes_per_step or facts.num_classes
        return dataclasses.replace(self, classes_per_step=classes)

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError for values that cannot be; DataError where a class is too small."""
        one_of("method.field", self.field, FIELDS)
        one_of("method.normalization", self.normalization, NORMALIZATIONS)
        one_of("method.encoder_features", self.encoder_features, feature_lib.KINDS)
        if not 1 <= self.classes_per_step <= facts.num_classes:
            raise ConfigError(
                f"config.method.classes_per_step = {self.classes_per_step}, but the data set has "
                f"{facts.num_classes} classes"
            )
        what = f"the {self.batch_size} images generated a step"
        gradients.require_division(self.micro_batches, self.batch_size, what)
        if not 1.0 <= self.cfg_min <= self.cfg_max:
            raise ConfigError(
                f"config.method.cfg_min and cfg_max = {self.cfg_min}, {self.cfg_max}: "
                "needs 1 <= cfg_min <= cfg_max"
            )

    def check_draws(self, facts: DataFacts, num_drawn: int) -> None:
        """Raises ConfigError or DataError where the data cannot give that many positives a class.

        Of a stream the queue holds what there is, and a class is left out until it holds enough.
        """
        if self.queue_size and self.queue_size < num_drawn:
            raise ConfigError(
                f"config.method.queue_size = {self.queue_size} holds fewer images than the "
                f"{num_drawn} positives drawn from it"
            )
        if facts.streamed and not self.queue_size:
            raise ConfigError(
                "config.data.streaming = True needs a queue of the newest images, from which "
                "positives are drawn: set config.method.queue_size (128 originally)"
            )
        if self.queue_size and not isinstance(facts.space, Pixels):
            raise DataError(
                f"{facts.source} has {facts.space.noun}, and the sample queue holds uint8 images; "
                "set config.method.queue_size=0 and config.data.streaming=False"
            )
        if not facts.streamed:
            _require_class_counts(facts, num_drawn)

    @property
    def batch_size(self) -> int:
        """Images generated a step; devices divide this."""
        return self.classes_per_step * self.num_generated

    @property
    def images_per_step(self) -> int:
        """Positives that the generator follows in a step."""
        return self.classes_per_step * self.num_positives

    @property
    def negatives(self) -> int:
        """Unconditional negatives a class and step."""
        return self.num_unconditional if self.normalization == "distance" else 0

    @property
    def networks(self) -> dict[str, str]:
        return {"encoder": self.encoder} if self.encoder else {}

    @property
    def needs(self) -> dict[str, str]:
        needed = {"label": "method 'drifting', which draws its positives by class,"}
        if self.normalization == "distance" and self.cfg_max > 1.0:
            needed["guidance"] = (
                "config.method.normalization = 'distance' with config.method.cfg_max = "
                f"{self.cfg_max:g}"
            )
        return needed


def _require_class_counts(facts: DataFacts, n: int) -> None:
    named = zip(facts.class_names, facts.class_counts, strict=True)
    short = [f"{name} ({count})" for name, count in named if count < n]
    if short:
        raise DataError(
            f"{facts.source} has classes with fewer images than the {n} distinct positives "
            f"asked of each: {', '.join(short)}. Lower config.method.num_positives or add images."
        )


class Inputs(NamedTuple):
    """What the generator is given for B images."""

    noise: jax.Array  # [B, H, W, C]
    condition: Condition  # label, guidance, style


class Real(NamedTuple):
    """The real side of a step: C classes of P positives, and M unconditional negatives each."""

    positives: jax.Array  # [C, P, H, W, C], or several disjoint draws of P behind each other
    unconditional: jax.Array | None  # [C, M, H, W, C]
    valid: jax.Array  # [C] float, 0 where a queue cannot yet serve the class


class Keys(NamedTuple):
    """The named random streams of one step."""

    classes: jax.Array
    positives: jax.Array
    unconditional: jax.Array
    flip: jax.Array
    cfg_scale: jax.Array
    dropout: jax.Array
    noise: jax.Array
    style: jax.Array
    push: jax.Array


class Step(NamedTuple):
    """What is drawn for one step, and the encoder's parameters."""

    inputs: Inputs
    real: Real
    cfg_scale: jax.Array  # [C]
    dropout_key: jax.Array
    encoder: Any


def sample_cfg_scale(
    key: jax.Array, n: int, low: float, high: float, power: float, share_at_one: float
) -> jax.Array:
    """n guidance scales from p(s) ~ s^-power on [low, high]; a share of them is set to 1.

    The paper's training-time guidance. Inverse of the cumulative distribution at uniform draws.
    """
    key_scale, key_one = jax.random.split(key)
    u = jax.random.uniform(key_scale, (n,))
    if abs(power - 1.0) < 1e-6:
        scale = low * (high / low) ** u
    else:
        a, b = low ** (1.0 - power), high ** (1.0 - power)
        scale = (a + u * (b - a)) ** (1.0 / (1.0 - power))
    return jnp.where(jax.random.uniform(key_one, (n,)) < share_at_one, 1.0, scale)


def extrapolate(
    generate: Callable[..., jax.Array],
    noise: jax.Array,
    labels: jax.Array,
    null_label: int,
    cfg_scale: jax.Array,
    style: jax.Array,
    null_style: jax.Array,
) -> jax.Array:
    """Guidance by two passes: x_null + s (x_class - x_null), [B, H, W, C].

    The label is dropped here, whatever mode the network is in: in the seed system dropping was
    tied to training, so its guided samples were plain ones.
    """
    conditional = generate(noise, labels, cfg_scale, style)
    null = generate(noise, jnp.full_like(labels, null_label), cfg_scale, null_style)
    return null + broadcast(cfg_scale, null) * (conditional - null)


@dataclasses.dataclass(frozen=True, eq=False)
class Drifting(Generator):
    """A one-step generator and the field that its samples follow.

    Attributes:
      features: what drifts, of images.
      field: the learned field; None: the kernel field.
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
    # Sampling needs no field, and a kernel run may be resumed with a learned one.
    replaceable = ("field",)
    streams = True

    @classmethod
    def from_config(
        cls, config: Any, facts: DataFacts, frozen: Mapping[str, Encoder] | None = None
    ) -> "Drifting":
        """As every method, then its features and its learned field, made for their dimensions."""
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
        """Positives a class and step, those that a learned field is trained on included."""
        return self.settings.num_positives * (self.field.draws if self.field else 1)

    @property
    def stream_batch(self) -> int:
        """All images of a streamed batch go into the queue."""
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
                self.num_classes, self.settings.queue_size, self.space.shape
            )
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
          key: this step's own, fold_in(base_key, step).
          frozen: the encoder's parameters, where there is one.
        """
        s, keys = self.settings, Keys(*jax.random.split(key, len(Keys._fields)))
        classes = self._draw_classes(keys.classes)
        real, extra = self._draw_real(state.extra, data, keys, classes)
        cfg_scale = sample_cfg_scale(
            keys.cfg_scale, s.classes_per_step, s.cfg_min, s.cfg_max, s.cfg_power,
            s.cfg_share_at_one,
        )
        step = Step(
            self._draw_inputs(keys, classes, cfg_scale), real, cfg_scale,
            jax.random.fold_in(key, DROPOUT), frozen.get("encoder"),
        )  # fmt: skip
        loss, grads, field, metrics = self._loss_and_grads(state, step)
        metrics = {
            "loss": loss,
            **metrics,
            "grad_norm": optax.tree.norm(grads),
            "lr": self.schedule(state.step),
        }
        if field:
            state = state.replace(
                params={**state.params, "field": field.params},
                opt_state={**state.opt_state, "field": field.opt_state},
            )
        state = state_lib.optimize(state, {"generator": grads}, self.optimizers)
        state = state_lib.average(state, self.decays).replace(extra=extra)
        return state_lib.count(state), metrics

    def _draw_classes(self, key: jax.Array) -> jax.Array:
        if self.settings.classes_per_step == self.num_classes:
            return jnp.arange(self.num_classes, dtype=jnp.int32)
        return jax.random.permutation(key, self.num_classes)[: self.settings.classes_per_step]

    def _draw_inputs(self, keys: Keys, classes: jax.Array, cfg_scale: jax.Array) -> Inputs:
        """G images of each class, at that class's guidance scale; some labels become null."""
        batch, each = self.batch_size, self.settings.num_generated
        labels = jnp.repeat(classes, each)
        dropped = jax.random.uniform(keys.dropout, (batch,)) < self.settings.label_dropout
        condition = Condition(
            label=jnp.where(dropped, self.num_classes, labels),
            guidance=jnp.repeat(cfg_scale, each),
            style=_draw_style(keys.style, batch),
        )
        return Inputs(jax.random.normal(keys.noise, (batch, *self.space.shape)), condition)

    def _draw_real(
        self, extra: dict, data: Data, keys: Keys, classes: jax.Array
    ) -> tuple[Real, dict]:
        """Positives and unconditional negatives, from the data set or from the queue."""
        s = self.settings
        asked = s.classes_per_step * s.negatives
        unconditional = None
        if s.queue_size:
            queue = extra["queue"].push(*data.fresh(keys.push, s.queue_push))
            extra = {**extra, "queue": queue}
            positives, valid = queue.sample(keys.positives, classes, self.num_drawn)
            if asked:
                unconditional, _ = queue.sample_any(keys.unconditional, asked)
            valid = valid.astype(jnp.float32)
        else:
            positives = data.positives(keys.positives, classes, self.num_drawn)
            if asked:
                unconditional, _ = data.draw(keys.unconditional, asked)
            valid = jnp.ones((s.classes_per_step,), jnp.float32)
        if self.flip:
            positives = augment.random_flip(keys.flip, positives)
        if asked:
            shape = (s.classes_per_step, s.negatives, *self.space.shape)
            unconditional = unconditional.reshape(shape)
        return Real(positives, unconditional, valid), extra

    def _generate(
        self, params: Any, inputs: Inputs, dropout_key: jax.Array | None = None
    ) -> jax.Array:
        """Images of the network, told what it reads; in training where a key is given."""
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
        """Feature stacks [S, B, D] in the coordinates that the field and the loss share."""
        stacks = tuple(pairs.as_float(f) for f in self.features(feature_params, images))
        if self.settings.normalization == "sphere":
            stacks = tuple(kernel.l2_normalize(f) for f in stacks)
        return stacks

    def _targets(
        self,
        phi: tuple[jax.Array, ...],
        field: Networks | None,
        step: Step,
    ) -> tuple[tuple[kernel.Target, ...], Networks | None, dict[str, jax.Array]]:
        """Goal [S, B, D] and scale [S, B, 1] for each stack, and the metrics' mean over stacks.

        A learned field takes its steps here, and comes back as it is after them.
        """
        real, cfg_scale = step.real, step.cfg_scale
        positives = self.phi(step.encoder, _flat(real.positives))
        negatives = (None,) * len(phi)
        if real.unconditional is not None:
            negatives = self.phi(step.encoder, _flat(real.unconditional))
        sets = [[self.by_class(x) for x in z] for z in zip(phi, positives, negatives, strict=True)]
        targets = [self.kernel_target(*s, cfg_scale) for s in sets]
        learning = {}
        if self.field:
            targets, field, learning = self._learned_targets(
                field, sets, targets, cfg_scale, real.valid
            )
        metrics = [target.metrics for target in targets]
        mean = jax.tree.map(lambda *m: jnp.mean(jnp.stack(m)), *metrics)
        shaped = tuple(_as_stack(t, f.shape) for t, f in zip(targets, phi, strict=True))
        return shaped, field, mean | learning

    def _learned_targets(
        self,
        field: Networks,
        sets: list[list[jax.Array | None]],
        targets: list[kernel.Target],
        cfg_scale: jax.Array,
        valid: jax.Array,
    ) -> tuple[list[kernel.Target], Networks, dict[str, jax.Array]]:
        """The kernel field's targets with the learned field's goals, after its steps."""
        around = [
            self.surroundings(*s, target, cfg_scale, valid)
            for s, target in zip(sets, targets, strict=True)
        ]
        field, metrics = self.field.train(field, around)
        drifts = self.field.drifts(field.params, around)
        learned = [
            target._replace(goal=a.x + v, metrics=_learned_metrics(target.metrics, v))
            for target, a, v in zip(targets, around, drifts, strict=True)
        ]
        return learned, field, metrics

    def surroundings(
        self,
        generated: jax.Array,
        positives: jax.Array,
        unconditional: jax.Array | None,
        target: kernel.Target,
        cfg_scale: jax.Array,
        valid: jax.Array,
    ) -> Surroundings:
        """What a learned field sees of one feature: sets [S * C, N, D] over the target's scale.

        Args:
          cfg_scale, valid: [C].
        """
        x = pairs.as_float(generated) / target.scale
        guidance = (None, None, None)
        if unconditional is not None:
            of_class = self._guidance_weight(cfg_scale), cfg_scale
            guidance = (
                unconditional / target.scale,
                *(self._for_places(value, generated) for value in of_class),
            )
        around = Surroundings(
            x,
            positives / target.scale,
            *guidance,
            kernel_drift=target.goal - x,
            valid=self._for_places(valid, generated),
        )
        return jax.lax.stop_gradient(around)

    def kernel_target(
        self,
        generated: jax.Array,
        positives: jax.Array,
        negatives: jax.Array | None,
        cfg_scale: jax.Array,
    ) -> kernel.Target:
        """The target of one feature: sets [S * C, N, D], a group for each of its S places.

        As released, a feature's places share the scale of their distances and their force norms.
        Of several draws of positives the kernel field sees the first.
        """
        positives = positives[:, : self.settings.num_positives]
        if self.settings.normalization == "sphere":
            return kernel.sphere_target(generated, positives, self.settings.temperatures)
        weight = None
        if negatives is not None:
            each = self._for_places(self._guidance_weight(cfg_scale), negatives)
            weight = jnp.broadcast_to(each[:, None], negatives.shape[:2])
        return kernel.distance_target(
            generated,
            positives,
            negatives,
            negative_weight=weight,
            temperatures=self.settings.temperatures,
            scale_per_label=self.settings.scale_per_label,
            drop_self_pairs=self.settings.drop_self_pairs,
        )

    def _guidance_weight(self, cfg_scale: jax.Array) -> jax.Array:
        """Of each unconditional negative, [C]."""
        s = self.settings
        return kernel.guidance_weight(cfg_scale, s.num_generated, s.negatives)

    def _for_places(self, of_class: jax.Array, groups: jax.Array) -> jax.Array:
        """[C] to [S * C], for groups [S * C, N, D]."""
        return jnp.tile(of_class, groups.shape[0] // self.settings.classes_per_step)

    def by_class(self, stack: jax.Array | None) -> jax.Array | None:
        """[S, C * N, D] to groups [S * C, N, D]."""
        if stack is None:
            return None
        places, _, dimension = stack.shape
        groups = places * self.settings.classes_per_step
        return stack.reshape(groups, -1, dimension)

    def _loss_and_grads(
        self, state: TrainState, step: Step
    ) -> tuple[jax.Array, Any, Networks | None, dict[str, jax.Array]]:
        """Loss, its gradient by the generator's parameters, the learned field and the metrics.

        The set is coupled through a target that is stopped, so micro-batches are exact: the field
        is evaluated once on the whole set's features, then the regression goes chunk by chunk.
        One more forward pass buys the activations of one chunk instead of all.
        """
        valid = step.real.valid
        weight = valid / (jnp.maximum(jnp.sum(valid), 1.0) * self.settings.num_generated)
        weight = jnp.repeat(weight, self.settings.num_generated)  # [B], sums to 1
        params, field = state.params["generator"], None
        if self.field:
            field = Networks(state.params["field"], state.opt_state["field"])

        def phi_of(params, inputs, key):
            return self.phi(step.encoder, self._generate(params, inputs, key))

        def targets_of(phi):
            return self._targets(phi, field, step)

        count = self.settings.micro_batches
        if count == 1:

            def whole(params):
                phi = phi_of(params, step.inputs, step.dropout_key)
                targets, field, metrics = targets_of(phi)
                return _regression(phi, targets, weight), (field, metrics)

            (loss, (field, metrics)), grads = jax.value_and_grad(whole, has_aux=True)(params)
            return loss, grads, field, metrics

        keys = jax.random.split(step.dropout_key, count)
        chunks = gradients.in_chunks(step.inputs, count)
        phi = jax.lax.map(lambda chunk: phi_of(params, *chunk), (chunks, keys))
        targets, field, metrics = targets_of(tuple(_unchunk(f) for f in phi))

        def of_chunk(chunk):
            inputs, key, targets, weight = chunk

            def part(params):
                return _regression(phi_of(params, inputs, key), targets, weight)

            return jax.value_and_grad(part)(params)

        rows = (
            chunks,
            keys,
            gradients.in_chunks(targets, count, axis=1),
            gradients.in_chunks(weight, count),
        )
        loss, grads = gradients.sum_over_chunks(of_chunk, rows)
        return loss, grads, field, metrics

    # --- sampling --------------------------------------------------------------------------------

    def nfe(self, cfg_scale: float) -> int:
        """Passes of the generator for one sample: guidance of a `sphere` run takes a second."""
        return 1 if self._is_conditional(cfg_scale) else 2

    def _is_conditional(self, cfg_scale: float | jax.Array) -> bool:
        """Whether guidance is the network's own condition, or none is asked for."""
        return self.settings.normalization == "distance" or _is_one(cfg_scale)

    def sample(
        self,
        state: TrainState,
        key: jax.Array,
        labels: jax.Array,
        cfg_scale: float | jax.Array = 1.0,
        ema: bool = True,
    ) -> jax.Array:
        """Samples [B, ...] of `labels` [B], images about in [-1, 1], at 1 NFE (2 for `sphere`).

        `distance` was trained with the guidance scale as a condition; `sphere` was not, and
        extrapolates from the null class, for which it needs `label_dropout`.

        Raises:
          ConfigError: guidance asked of a run that was trained without.
        """
        self._require_guidance(cfg_scale)
        params = state.weights("generator", ema)
        key_noise, key_style, key_null = jax.random.split(key, 3)
        batch = labels.shape[0]
        noise = jax.random.normal(key_noise, (batch, *self.space.shape))
        scale = jnp.full((batch,), cfg_scale, jnp.float32)
        style = _draw_style(key_style, batch)

        def generate(noise, labels, scale, style):
            condition = Condition(label=labels, guidance=scale, style=style)
            return self._generate(params, Inputs(noise, condition))

        if self._is_conditional(cfg_scale):
            return generate(noise, labels, scale, style)
        null_style = _draw_style(key_null, batch)
        return extrapolate(generate, noise, labels, self.num_classes, scale, style, null_style)

    def _require_guidance(self, cfg_scale: float | jax.Array) -> None:
        """Raises ConfigError for a scale that the run cannot be sampled at."""
        if _is_one(cfg_scale):
            return
        if self.settings.normalization == "distance" and "guidance" not in self.network.reads:
            raise ConfigError(
                "this run's network reads no guidance, so cfg_scale must be 1 "
                "(config.eval.cfg_scale, --cfg_scale)"
            )
        if self.settings.normalization == "sphere" and not self.settings.label_dropout:
            raise ConfigError(
                "this run has label_dropout = 0, so its null class is untrained and cfg_scale "
                "must be 1"
            )

    def summaries(
        self, state: TrainState, key: jax.Array, data: Data, frozen: Mapping[str, Any]
    ) -> dict[str, Grid | Scatter]:
        """Samples, see `shown.samples`."""
        return shown.samples(self, state, key, data, frozen)


def _is_one(cfg_scale: float | jax.Array) -> bool:
    return isinstance(cfg_scale, float | int) and cfg_scale == 1.0


def _draw_style(key: jax.Array, batch: int) -> jax.Array:
    return jax.random.randint(key, (batch, STYLE_TOKENS), 0, STYLE_CODES, jnp.int32)


def _flat(images: jax.Array) -> jax.Array:
    """[C, N, H, W, C] to [C * N, H, W, C], spread over the devices."""
    return state_lib.shard_batch(images.reshape(-1, *images.shape[2:]))


def _as_stack(target: kernel.Target, shape: tuple[int, ...]) -> kernel.Target:
    """Of groups [S * C, N, D] to `shape` [S, B, D], the scale to [S, B, 1]; without metrics."""
    scale = jnp.broadcast_to(target.scale, (*target.goal.shape[:-1], 1))
    return kernel.Target(target.goal.reshape(shape), scale.reshape(*shape[:-1], 1), {})


def _learned_metrics(metrics: dict[str, jax.Array], drift: jax.Array) -> dict[str, jax.Array]:
    """The statistics of the distances, and the learned field's norm instead of the kernel's."""
    kept = {k: v for k, v in metrics.items() if "dist" in k}
    norm = jnp.mean(jnp.sqrt(jnp.mean(jnp.square(drift), axis=(1, 2))))
    return {"drift_norm": norm, **kept}


def _unchunk(stack: jax.Array) -> jax.Array:
    """[M, S, B / M, D] to [S, B, D]."""
    return jnp.moveaxis(stack, 0, 1).reshape(stack.shape[1], -1, stack.shape[-1])


def _regression(
    phi: tuple[jax.Array, ...], targets: tuple[kernel.Target, ...], weight: jax.Array
) -> jax.Array:
    """The mean over features of sum_b weight_b mean_{s, d} (phi / scale - goal)^2.

    A feature of many places weighs as much as one of a single place. (The released code sums over
    features; the mean differs by a factor alone, which Adam does not see.)
    """
    total = jnp.zeros(())
    for f, target in zip(phi, targets, strict=True):
        error = jnp.mean(jnp.square(f / target.scale - target.goal), axis=(0, 2))  # [B]
        total += jnp.sum(error * weight)
    return total / len(phi)

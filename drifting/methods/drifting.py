"""Drifting: a generator trained to follow the drift of its own samples.

Algorithm 1 of Deng et al., "Generative Modeling via Drifting" (arXiv:2602.04770): draw classes,
generate a set of each, draw real positives of the same classes, evaluate the field on features,
regress the generator's features on stopgrad(phi + V). The field is the kernel field, or one that is
learned beside the generator (learned_field.py).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from drifting.core import config as config_lib
from drifting.core import state as state_lib
from drifting.core.errors import ConfigError, one_of
from drifting.core.state import TrainState
from drifting.fields import kernel, pairs
from drifting.methods.learned_field import LearnedField, Networks, Surroundings
from input_pipeline import augment, pixels, resident
from input_pipeline.image_set import DataError
from input_pipeline.queue import SampleQueue
from input_pipeline.streaming import Batch, Stream
from models import dit

NORMALIZATIONS = ("sphere", "distance")
FIELDS = ("kernel", "learned")

# (feature parameters, images [B, H, W, C] in [-1, 1]) -> stacks [S, B, D], one a feature: S places
# of it (one, for a whole image) with vectors of D values.
FeatureFunction = Callable[[Any, jax.Array], tuple[jax.Array, ...]]


def pixel_features(params: Any, images: jax.Array) -> tuple[jax.Array, ...]:
    """The image itself, flattened, as the only feature: ([1, B, H * W * C],)."""
    del params
    return (images.reshape(1, images.shape[0], -1),)


class Inputs(NamedTuple):
    """What the generator is given for B images."""

    noise: jax.Array  # [B, H, W, C]
    labels: jax.Array  # [B], num_classes is the null class
    cfg_scale: jax.Array  # [B]
    style: jax.Array  # [B, 32]


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
    return null + cfg_scale[:, None, None, None] * (conditional - null)


@dataclasses.dataclass(frozen=True, eq=False)
class Drifting:
    """See `from_config` for where each value comes from and configs/base.py for what it means."""

    generator: dit.DriftDiT
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    ema_decay: float
    classes_per_step: int
    num_generated: int
    num_positives: int
    num_unconditional: int
    normalization: str
    temperatures: tuple[float, ...]
    scale_per_label: bool
    drop_self_pairs: bool
    cfg_min: float
    cfg_max: float
    cfg_power: float
    cfg_share_at_one: float
    label_dropout: float
    flip: bool
    queue_size: int
    queue_push: int
    micro_batches: int
    features: FeatureFunction = pixel_features
    field: LearnedField | None = None  # None: the kernel field

    # Sampling needs no field, and a kernel run may be resumed with a learned one.
    replaceable = ("field",)
    streams = True

    @classmethod
    def from_config(
        cls,
        config: Any,
        facts: Any,
        features: FeatureFunction = pixel_features,
        feature_params: Any = None,
    ) -> "Drifting":
        """Builds the method.

        Args:
          features, feature_params: where an encoder's feature function is handed in. A learned
            field is made for their dimensions; a run that is only sampled can do without.

        Raises:
          ConfigError: a value of the config is outside what it can be; the key is named.
        """
        size, _, channels = facts.image_shape
        model = config.model.to_dict()
        model.pop("name")
        preset = dit.SIZES[one_of("model.size", model.pop("size"), dit.SIZES)]
        generator = dit.DriftDiT(
            image_size=size,
            channels=channels,
            num_classes=facts.num_classes,
            dtype=jnp.dtype(config.precision),
            **preset,
            **model,
        )
        one_of("method.field", config.method.field, FIELDS)
        one_of("method.normalization", config.method.normalization, NORMALIZATIONS)
        values = config.method.to_dict()
        for key in ("name", "field", "encoder", "encoder_features", "encoder_every_block"):
            values.pop(key)
        values["temperatures"] = tuple(values["temperatures"])
        values["classes_per_step"] = values["classes_per_step"] or facts.num_classes
        images_per_step = values["classes_per_step"] * values["num_positives"]
        total = config_lib.to_steps(config.train, "total", images_per_step, facts.num_images)
        optimizer, schedule = state_lib.make_optimizer(config.optimizer, total)
        field = None
        if config.method.field == "learned":
            dimensions = _dimensions(features, feature_params, facts.image_shape)
            field = LearnedField.from_config(config, dimensions, total)
        method = cls(
            generator=generator,
            optimizer=optimizer,
            schedule=schedule,
            ema_decay=config.ema_decay,
            flip=config.data.flip,
            features=features,
            field=field,
            **values,
        )
        method._check()
        return method

    def _check(self) -> None:
        size, patch = self.generator.image_size, self.generator.patch_size
        if patch < 1 or size % patch:
            raise ConfigError(
                f"config.model.patch_size = {patch} does not divide config.data.image_size = {size}"
            )
        if not 1 <= self.classes_per_step <= self.num_classes:
            raise ConfigError(
                f"config.method.classes_per_step = {self.classes_per_step}, but the data set has "
                f"{self.num_classes} classes"
            )
        if self.batch_size % self.micro_batches:
            raise ConfigError(
                f"config.method.micro_batches = {self.micro_batches} does not divide the "
                f"{self.batch_size} images generated a step"
            )
        if self.queue_size and self.queue_size < self.num_drawn:
            raise ConfigError(
                f"config.method.queue_size = {self.queue_size} holds fewer images than the "
                f"{self.num_drawn} positives drawn from it"
            )
        smallest = min(self.num_generated, self.num_positives, self._num_unconditional or 2)
        if self.field and self.field.objective == "lookahead" and smallest < 2:
            raise ConfigError(
                "config.field.objective = 'lookahead' needs at least 2 of config.method."
                "num_generated, num_positives and num_unconditional (if any)"
            )
        if not 1.0 <= self.cfg_min <= self.cfg_max:
            raise ConfigError(
                f"config.method.cfg_min and cfg_max = {self.cfg_min}, {self.cfg_max}: "
                "needs 1 <= cfg_min <= cfg_max"
            )

    @property
    def num_classes(self) -> int:
        return self.generator.num_classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        size = self.generator.image_size
        return size, size, self.generator.channels

    @property
    def batch_size(self) -> int:
        """Images generated a step; devices divide this."""
        return self.classes_per_step * self.num_generated

    @property
    def images_per_step(self) -> int:
        """Positives that the generator follows in a step; an epoch is counted in these."""
        return self.classes_per_step * self.num_positives

    @property
    def num_drawn(self) -> int:
        """Positives a class and step, those that a learned field is trained on included."""
        return self.num_positives * (self.field.draws if self.field else 1)

    @property
    def _num_unconditional(self) -> int:
        return self.num_unconditional if self.normalization == "distance" else 0

    @property
    def optimizers(self) -> dict[str, optax.GradientTransformation]:
        field = {"field": self.field.optimizer} if self.field else {}
        return {"generator": self.optimizer, **field}

    @property
    def stream_batch(self) -> int:
        """Images of a streamed batch; all of them go into the queue."""
        return self.queue_push

    def check_data(self, data: Any) -> None:
        """Raises DataError where a class has fewer images than the positives asked of it.

        Of a stream the queue holds what there is, and a class is left out until it holds enough.
        """
        streamed = isinstance(data, Stream)
        dtype = np.dtype(data.records.dtype if streamed else data.images.dtype)
        if streamed and not self.queue_size:
            raise ConfigError(
                "config.data.streaming = True needs a queue of the newest images, from which "
                "positives are drawn: set config.method.queue_size (128 originally)"
            )
        if self.queue_size and dtype != np.uint8:
            raise DataError(
                f"{data.source} has {dtype} records, and the sample queue holds uint8 images; set "
                "config.method.queue_size=0 and config.data.streaming=False"
            )
        if not streamed:
            resident.require_class_counts(data, self.num_drawn)

    # --- state -----------------------------------------------------------------------------------

    def init(self, key: jax.Array) -> TrainState:
        """A fresh state at step 0."""
        size = self.generator.image_size
        variables = self.generator.init(
            key,
            jnp.zeros((1, size, size, self.generator.channels)),
            jnp.zeros((1,), jnp.int32),
            jnp.ones((1,)),
            jnp.zeros((1, dit.STYLE_TOKENS), jnp.int32),
        )
        extra = {}
        if self.queue_size:
            extra["queue"] = SampleQueue.create(
                self.num_classes, self.queue_size, self.image_shape
            )
        params = {"generator": variables["params"]}
        if self.field:
            params["field"] = self.field.init(jax.random.fold_in(key, 1))
        return TrainState.create(params, self.optimizers, extra)

    # --- training --------------------------------------------------------------------------------

    def train_step(
        self,
        state: TrainState,
        data: resident.Resident | Batch,
        key: jax.Array,
        frozen: Any = None,
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One step of algorithm 1. Metrics are scalars.

        Args:
          data: a resident data set, or a batch of a stream (which needs `queue_size`).
          key: this step's own, fold_in(base_key, step).
          frozen: parameters of the feature function; an argument, so never a constant of the
            trace.
        """
        keys = Keys(*jax.random.split(key, len(Keys._fields)))
        classes = self._draw_classes(keys.classes)
        real, extra = self._draw_real(state.extra, data, keys, classes)
        cfg_scale = sample_cfg_scale(
            keys.cfg_scale, self.classes_per_step, self.cfg_min, self.cfg_max, self.cfg_power,
            self.cfg_share_at_one,
        )
        inputs = self._draw_inputs(keys, classes, cfg_scale)
        loss, grads, field, metrics = self._loss_and_grads(
            state, frozen, inputs, real, cfg_scale
        )
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
        state = state_lib.apply_gradients(state, grads, self.optimizers, self.ema_decay, extra)
        return state, metrics

    def _draw_classes(self, key: jax.Array) -> jax.Array:
        if self.classes_per_step == self.num_classes:
            return jnp.arange(self.num_classes, dtype=jnp.int32)
        return jax.random.permutation(key, self.num_classes)[: self.classes_per_step]

    def _draw_inputs(self, keys: Keys, classes: jax.Array, cfg_scale: jax.Array) -> Inputs:
        """G images of each class, at that class's guidance scale; some labels become null."""
        batch = self.batch_size
        labels = jnp.repeat(classes, self.num_generated)
        dropped = jax.random.uniform(keys.dropout, (batch,)) < self.label_dropout
        return Inputs(
            noise=jax.random.normal(keys.noise, (batch, *self.image_shape)),
            labels=jnp.where(dropped, self.num_classes, labels),
            cfg_scale=jnp.repeat(cfg_scale, self.num_generated),
            style=_draw_style(keys.style, batch),
        )

    def _draw_real(
        self, extra: dict, data: resident.Resident | Batch, keys: Keys, classes: jax.Array
    ) -> tuple[Real, dict]:
        """Positives and unconditional negatives, from the data set or from the queue."""
        num_unconditional = self._num_unconditional
        asked = (self.classes_per_step * num_unconditional,)
        if self.queue_size:
            queue = _push(extra["queue"], data, keys.push, self.queue_push)
            extra = {**extra, "queue": queue}
            positives, valid = queue.sample(keys.positives, classes, self.num_drawn)
            if num_unconditional:
                unconditional, _ = queue.sample_any(keys.unconditional, *asked)
            valid = valid.astype(jnp.float32)
        else:
            positives = resident.positives(data, keys.positives, classes, self.num_drawn)
            if num_unconditional:
                unconditional, _ = resident.batch(data, keys.unconditional, *asked)
            valid = jnp.ones((self.classes_per_step,), jnp.float32)
        if self.flip:
            positives = augment.random_flip(keys.flip, positives)
        if not num_unconditional:
            return Real(positives, None, valid), extra
        shape = (self.classes_per_step, num_unconditional, *self.image_shape)
        return Real(positives, unconditional.reshape(shape), valid), extra

    def _generate(self, params: Any, inputs: Inputs) -> jax.Array:
        inputs = Inputs(*(state_lib.shard_batch(x) for x in inputs))
        return self.generator.apply({"params": params}, *inputs)

    def phi(self, feature_params: Any, images: jax.Array) -> tuple[jax.Array, ...]:
        """Feature stacks [S, B, D] in the coordinates that the field and the loss share."""
        stacks = tuple(pairs.as_float(f) for f in self.features(feature_params, images))
        if self.normalization == "sphere":
            stacks = tuple(kernel.l2_normalize(f) for f in stacks)
        return stacks

    def _targets(
        self,
        phi: tuple[jax.Array, ...],
        field: Networks | None,
        feature_params: Any,
        real: Real,
        cfg_scale: jax.Array,
    ) -> tuple[tuple[kernel.Target, ...], Networks | None, dict[str, jax.Array]]:
        """Goal [S, B, D] and scale [S, B, 1] for each stack, and the metrics' mean over stacks.

        A learned field takes its steps here, and comes back as it is after them.
        """
        positives = self.phi(feature_params, _flat(real.positives))
        negatives = (None,) * len(phi)
        if real.unconditional is not None:
            negatives = self.phi(feature_params, _flat(real.unconditional))
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
        positives = positives[:, : self.num_positives]
        if self.normalization == "sphere":
            return kernel.sphere_target(generated, positives, self.temperatures)
        weight = None
        if negatives is not None:
            each = self._for_places(self._guidance_weight(cfg_scale), negatives)
            weight = jnp.broadcast_to(each[:, None], negatives.shape[:2])
        return kernel.distance_target(
            generated,
            positives,
            negatives,
            negative_weight=weight,
            temperatures=self.temperatures,
            scale_per_label=self.scale_per_label,
            drop_self_pairs=self.drop_self_pairs,
        )

    def _guidance_weight(self, cfg_scale: jax.Array) -> jax.Array:
        """Of each unconditional negative, [C]."""
        return kernel.guidance_weight(cfg_scale, self.num_generated, self._num_unconditional)

    def _for_places(self, of_class: jax.Array, groups: jax.Array) -> jax.Array:
        """[C] to [S * C], for groups [S * C, N, D]."""
        return jnp.tile(of_class, groups.shape[0] // self.classes_per_step)

    def by_class(self, stack: jax.Array | None) -> jax.Array | None:
        """[S, C * N, D] to groups [S * C, N, D]."""
        if stack is None:
            return None
        places, _, dimension = stack.shape
        groups = places * self.classes_per_step
        return stack.reshape(groups, -1, dimension)

    def _loss_and_grads(
        self,
        state: TrainState,
        feature_params: Any,
        inputs: Inputs,
        real: Real,
        cfg_scale: jax.Array,
    ) -> tuple[jax.Array, Any, Networks | None, dict[str, jax.Array]]:
        """Loss, its gradient by the generator's parameters, the learned field and the metrics.

        The set is coupled through a target that is stopped, so micro-batches are exact: the field
        is evaluated once on the whole set's features, then the regression goes chunk by chunk.
        One more forward pass buys the activations of one chunk instead of all.
        """
        weight = real.valid / (jnp.maximum(jnp.sum(real.valid), 1.0) * self.num_generated)
        weight = jnp.repeat(weight, self.num_generated)  # [B], sums to 1

        params, field = state.params["generator"], None
        if self.field:
            field = Networks(state.params["field"], state.opt_state["field"])

        def phi_of(params, inputs):
            return self.phi(feature_params, self._generate(params, inputs))

        def targets_of(phi):
            return self._targets(phi, field, feature_params, real, cfg_scale)

        if self.micro_batches == 1:

            def whole(params):
                phi = phi_of(params, inputs)
                targets, field, metrics = targets_of(phi)
                return _regression(phi, targets, weight), (field, metrics)

            (loss, (field, metrics)), grads = jax.value_and_grad(whole, has_aux=True)(params)
            return loss, grads, field, metrics

        chunks = jax.tree.map(self._chunk, inputs)
        phi = jax.lax.map(lambda chunk: phi_of(params, chunk), chunks)
        phi = tuple(_unchunk(f) for f in phi)
        targets, field, metrics = targets_of(phi)
        targets = jax.tree.map(lambda t: self._chunk(t, axis=1), targets)

        def add_chunk(total, chunk):
            inputs, targets, weight = chunk

            def part(params):
                return _regression(phi_of(params, inputs), targets, weight)

            return jax.tree.map(jnp.add, total, jax.value_and_grad(part)(params)), None

        zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
        rows = (chunks, targets, self._chunk(weight))
        (loss, grads), _ = jax.lax.scan(add_chunk, zero, rows)
        return loss, grads, field, metrics

    def _chunk(self, x: jax.Array, axis: int = 0) -> jax.Array:
        """Splits the batch axis of x into [micro_batches, B / micro_batches], chunks first."""
        shape = (*x.shape[:axis], self.micro_batches, -1, *x.shape[axis + 1 :])
        return jnp.moveaxis(x.reshape(shape), axis, 0)

    # --- sampling --------------------------------------------------------------------------------

    def nfe(self, cfg_scale: float) -> int:
        """Passes of the generator for one sample: guidance of a `sphere` run takes a second."""
        return 1 if self._is_conditional(cfg_scale) else 2

    def _is_conditional(self, cfg_scale: float | jax.Array) -> bool:
        """Whether guidance is the network's own condition, or none is asked for."""
        return self.normalization == "distance" or _is_one(cfg_scale)

    def sample(
        self,
        state: TrainState,
        key: jax.Array,
        labels: jax.Array,
        cfg_scale: float | jax.Array = 1.0,
        ema: bool = True,
    ) -> jax.Array:
        """Images [B, H, W, C] of `labels` [B], about in [-1, 1], at 1 NFE (2 for `sphere`).

        `distance` was trained with the guidance scale as a condition; `sphere` was not, and
        extrapolates from the null class, for which it needs `label_dropout`.

        Raises:
          ValueError: guidance asked of a `sphere` run trained without label dropout.
        """
        params = (state.ema_params if ema else state.params)["generator"]
        key_noise, key_style, key_null = jax.random.split(key, 3)
        batch = labels.shape[0]
        noise = jax.random.normal(key_noise, (batch, *self.image_shape))
        scale = jnp.full((batch,), cfg_scale, jnp.float32)
        style = _draw_style(key_style, batch)

        def generate(*inputs):
            return self._generate(params, Inputs(*inputs))

        if self._is_conditional(cfg_scale):
            return generate(noise, labels, scale, style)
        if not self.label_dropout:
            raise ConfigError(
                "this run has label_dropout = 0, so its null class is untrained and cfg_scale "
                "must be 1"
            )
        null_style = _draw_style(key_null, batch)
        return extrapolate(generate, noise, labels, self.num_classes, scale, style, null_style)

    def summaries(
        self, state: TrainState, key: jax.Array, data: Any, cfg_scale: float = 1.0, rows: int = 8
    ) -> dict[str, jax.Array]:
        """A grid of samples, a column for each of the first ten classes: [rows, columns, ...]."""
        del data
        columns = min(self.num_classes, 10)
        labels = jnp.tile(jnp.arange(columns, dtype=jnp.int32), rows)
        images = self.sample(state, key, labels, cfg_scale)
        return {"samples": images.reshape(rows, columns, *self.image_shape)}


def _is_one(cfg_scale: float | jax.Array) -> bool:
    return isinstance(cfg_scale, float | int) and cfg_scale == 1.0


def _draw_style(key: jax.Array, batch: int) -> jax.Array:
    return jax.random.randint(key, (batch, dit.STYLE_TOKENS), 0, dit.STYLE_CODES, jnp.int32)


def _push(
    queue: SampleQueue, data: resident.Resident | Batch, key: jax.Array, n: int
) -> SampleQueue:
    """Enqueues a streamed batch, or n fresh images of a resident set."""
    if isinstance(data, Batch):
        return queue.push(data.images, data.labels)
    images, labels = resident.batch(data, key, n)
    return queue.push(pixels.to_uint8(images), labels)


def _flat(images: jax.Array) -> jax.Array:
    """[C, N, H, W, C] to [C * N, H, W, C], spread over the devices."""
    return state_lib.shard_batch(images.reshape(-1, *images.shape[2:]))


def _dimensions(
    features: FeatureFunction, feature_params: Any, image_shape: tuple[int, int, int]
) -> tuple[int, ...]:
    """D of each feature of images [H, W, C]."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return tuple(f.shape[-1] for f in jax.eval_shape(features, feature_params, images))


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

"""The training of a learned drifting field V(x; P, Q) together with a generator.

In jaysarva/drifting-model the generator's target is detached and nothing else trains the field, so
it stays as initialised (the objective "frozen"). Here it learns from the samples x of every step of
the generator, which are detached too. With a feature's mean distance u = E|x - y'| as the unit:

    lookahead:  D({x + V}, {y'}) / u + norm_penalty E|V|^2 / u^2
    distill:    E|V - K|^2 / E|K|^2

where D is the energy distance, y' a second, disjoint draw of positives, and K the kernel field of
all temperatures.

The generator follows the field after its step. With clip_jointly it follows the field before its
step, because both gradients are needed before either network can take one.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from drifting.core import config as config_lib
from drifting.core import optimizers
from drifting.core.errors import ConfigError, one_of
from drifting.fields import learned, objectives, pairs

OBJECTIVES = ("frozen", "lookahead", "distill")


class FeatureSets(NamedTuple):
    """The point sets of one feature in a step, in the coordinates of the generator's loss.

    Attributes:
      x: [C, N, D], the samples.
      positives: [C, draws * P, D], real points: `LearnedField.draws` disjoint draws of P each.
      unconditional: [C, M, D], real points of any class, or None.
      unconditional_weight: [C], the weight of an unconditional negative; a sample's is 1.
      cfg_scale: [C], the guidance scales.
      kernel_drift: [C, N, D], the kernel field of all temperatures.
      valid: [C], 0 for a group to be ignored, otherwise 1.
    """

    x: jax.Array
    positives: jax.Array
    unconditional: jax.Array | None
    unconditional_weight: jax.Array | None
    cfg_scale: jax.Array | None
    kernel_drift: jax.Array
    valid: jax.Array


class Networks(NamedTuple):
    """The parameters of all features' fields, and their optimiser's state.

    Attributes:
      grads: with `clip_jointly`, the gradient of a step still to be taken.
    """

    params: Any
    opt_state: Any
    grads: Any = None


@dataclasses.dataclass(frozen=True)
class FieldSettings:
    """The keys of config.field, which are read where config.method.field = "learned"."""

    # What the field learns. lookahead: to bring samples close to a second draw of positives in one
    # step. distill: the kernel field of all method.temperatures. frozen: nothing; it stays as
    # initialised, as in jaysarva/drifting-model.
    objective: str = "lookahead"
    steps: int = 1  # field steps per generator step, each with its own positives
    norm_penalty: float = 0.01  # weight of the mean of |V|^2, in units of the mean distance
    mask_self: bool = True  # a sample is not its own negative
    kernel_weight: float = 0.0  # of the kernel field of all temperatures, added to the learned one
    hidden: int = 256  # units between the two layers of the representation
    projection: int = 256  # dimension of a representation; 0: the features themselves
    score_hidden: int = 128  # hidden units of the network that scores pairs
    # Clip the gradients of field and generator by the norm of both together, as in
    # jaysarva/drifting-model, instead of each by its own.
    clip_jointly: bool = False

    def check(self) -> None:
        """Raises ConfigError, naming the key, for a value out of range."""
        one_of("field.objective", self.objective, OBJECTIVES)
        values = vars(self)
        for key in ("steps", "hidden", "score_hidden"):
            if values[key] < 1:
                raise ConfigError(f"config.field.{key} = {values[key]} must be at least 1")
        for key in ("projection", "norm_penalty"):
            if values[key] < 0:
                raise ConfigError(f"config.field.{key} = {values[key]} must not be negative")

    def check_clipping(self, norms: tuple[float, float]) -> None:
        """Raises ConfigError if these clip_norms of generator and field cannot be a joint one."""
        if not self.clip_jointly:
            return
        if self.steps > 1:
            raise ConfigError(
                f"config.field.clip_jointly = True needs config.field.steps = 1, not {self.steps}: "
                "one step of the generator has one gradient"
            )
        if norms[0] != norms[1] or norms[0] <= 0:
            raise ConfigError(
                "config.field.clip_jointly = True needs one clip_norm above 0, but "
                f"config.optimizer.clip_norm = {norms[0]:g} and config.field_optimizer.clip_norm = "
                f"{norms[1]:g}; set both to the same"
            )

    def check_sets(self, *sizes: int) -> None:
        """Raises ConfigError if sets of these sizes (0: no such set) have no energy distance."""
        if self.objective == "lookahead" and min(size or 2 for size in sizes) < 2:
            raise ConfigError(
                "config.field.objective = 'lookahead' needs config.method.num_generated, "
                "num_positives and num_unconditional (unless 0) of at least 2 each"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class LearnedField:
    """One field per feature.

    Attributes:
      settings: config.field.
      dimensions: the number of values of each feature.
      clip_norm: of its gradient and the generator's together; 0: each is clipped by itself.
    """

    settings: FieldSettings
    dimensions: tuple[int, ...]
    optimizer: optax.GradientTransformation
    clip_norm: float = 0.0

    @classmethod
    def from_config(
        cls, config: Any, dimensions: tuple[int, ...], total_steps: int
    ) -> "LearnedField":
        """Builds it from config.field, config.field_optimizer and the generator's clip_norm.

        Raises:
          ConfigError: a value is out of range; the message names the key.
        """
        settings = config_lib.typed(FieldSettings, config.field, "field")
        settings.check()
        clip_norm = config.optimizer.clip_norm
        settings.check_clipping((clip_norm, config.field_optimizer.clip_norm))
        optimizer, _ = optimizers.make_optimizer(
            config.field_optimizer, total_steps * settings.steps, "field_optimizer"
        )
        return cls(settings, dimensions, optimizer, clip_norm if settings.clip_jointly else 0.0)

    @property
    def draws(self) -> int:
        """The number of disjoint draws of positives that one generator step needs."""
        return self.settings.steps + 1 if self.settings.objective == "lookahead" else 1

    def init(self, key: jax.Array) -> dict[str, learned.Params]:
        """Parameters under `feature_<number>`."""
        s = self.settings
        sizes = s.hidden, s.projection, s.score_hidden
        return {
            f"feature_{i}": learned.init(jax.random.fold_in(key, i), dimension, *sizes)
            for i, dimension in enumerate(self.dimensions)
        }

    def drifts(
        self, params: dict[str, learned.Params], features: list[FeatureSets]
    ) -> tuple[jax.Array, ...]:
        """V [C, N, D] of each feature with the first draw of positives, without gradient."""
        own = self._drifts(params, [self._sets(f, 0) for f in features])
        return tuple(
            jax.lax.stop_gradient(v + self.settings.kernel_weight * f.kernel_drift)
            for v, f in zip(own, features, strict=True)
        )

    def train(
        self, networks: Networks, features: list[FeatureSets]
    ) -> tuple[Networks, dict[str, jax.Array]]:
        """Takes `steps` steps, the i-th on draw i of positives; returns the last one's metrics.

        With `clip_jointly` it only adds the gradient to `networks`: the step is up to the caller.
        """
        if self.settings.objective == "frozen":
            return networks, {}
        features = jax.lax.stop_gradient(features)
        if self.clip_norm:
            grads, metrics = self._gradient(networks.params, features, 0)
            return networks._replace(grads=grads), metrics

        def step(networks: Networks, draw: jax.Array) -> tuple[Networks, dict[str, jax.Array]]:
            draw = jnp.minimum(draw, self.draws - 1)
            grads, metrics = self._gradient(networks.params, features, draw)
            updates, opt_state = self.optimizer.update(grads, networks.opt_state, networks.params)
            return Networks(optax.apply_updates(networks.params, updates), opt_state), metrics

        networks, metrics = jax.lax.scan(step, networks, jnp.arange(self.settings.steps))
        return networks, jax.tree.map(lambda m: m[-1], metrics)

    def _gradient(
        self, params: dict[str, learned.Params], features: list[FeatureSets], draw: int | jax.Array
    ) -> tuple[Any, dict[str, jax.Array]]:
        """The gradient of the loss and its metrics, among them its norm."""
        gradient = jax.value_and_grad(self._loss, has_aux=True)
        (loss, metrics), grads = gradient(params, features, draw)
        return grads, {"field_loss": loss, "field_grad_norm": optax.tree.norm(grads), **metrics}

    def _sets(self, feature: FeatureSets, draw: int | jax.Array) -> learned.Sets:
        negatives, weight = feature.x, None
        if feature.unconditional is not None:
            negatives = jnp.concatenate([feature.x, feature.unconditional], axis=1)  # [C, N + M, D]
            ones = jnp.ones(feature.x.shape[:2], negatives.dtype)
            each = jnp.broadcast_to(
                feature.unconditional_weight[:, None], feature.unconditional.shape[:2]
            )
            weight = jnp.concatenate([ones, each], axis=1)  # [C, N + M]
        return learned.Sets(feature.x, self._draw(feature, draw), negatives, weight)

    def _draw(self, feature: FeatureSets, number: int | jax.Array) -> jax.Array:
        """The draw `number` of positives, [C, P, D]."""
        size = feature.positives.shape[1] // self.draws
        return jax.lax.dynamic_slice_in_dim(feature.positives, number * size, size, axis=1)

    def _drifts(
        self, params: dict[str, learned.Params], sets: list[learned.Sets]
    ) -> tuple[jax.Array, ...]:
        each = [params[f"feature_{i}"] for i in range(len(sets))]
        return learned.drifts(each, sets, "masked" if self.settings.mask_self else "kept")

    def _loss(
        self, params: dict[str, learned.Params], features: list[FeatureSets], draw: int | jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The mean of the objective over features, and its metrics."""
        drifts = self._drifts(params, [self._sets(f, draw) for f in features])
        of_feature = self._lookahead if self.settings.objective == "lookahead" else self._distill
        parts = [of_feature(v, f, draw) for v, f in zip(drifts, features, strict=True)]
        mean = jax.tree.map(lambda *m: jnp.mean(jnp.stack(m)), *parts)
        return mean.pop("loss"), mean

    def _lookahead(
        self, drift: jax.Array, feature: FeatureSets, draw: int | jax.Array
    ) -> dict[str, jax.Array]:
        """D({x + V}, {y'}) / u + norm_penalty E|V|^2 / u^2 with u = E|x - y'|."""
        heldout = self._draw(feature, draw + 1)  # y'
        distance = jnp.mean(pairs.distances(feature.x, heldout), axis=(1, 2))
        unit = _mean_of_valid(distance, feature) + 1e-8

        def energy(x: jax.Array) -> jax.Array:
            if feature.unconditional is None:
                of_group = objectives.energy_distance(x, heldout)
            else:
                of_group = objectives.guided_energy_distance(
                    x, heldout, feature.unconditional, feature.cfg_scale
                )
            return _mean_of_valid(of_group, feature) / unit

        after = energy(feature.x + drift)
        square = jnp.mean(jnp.sum(jnp.square(drift), axis=-1), axis=-1)
        loss = after + self.settings.norm_penalty * _mean_of_valid(square, feature) / unit**2
        return {"loss": loss, "energy_before": energy(feature.x), "energy_after": after}

    def _distill(
        self, drift: jax.Array, feature: FeatureSets, draw: int | jax.Array
    ) -> dict[str, jax.Array]:
        """E|V - K|^2 / E|K|^2 for the kernel field K."""
        del draw
        error, square = (
            _mean_of_valid(jnp.mean(jnp.square(v), axis=(1, 2)), feature)
            for v in (drift - feature.kernel_drift, feature.kernel_drift)
        )
        return {"loss": error / (square + 1e-8)}


def _mean_of_valid(of_group: jax.Array, feature: FeatureSets) -> jax.Array:
    """The mean of `of_group` [C] over valid groups; 0 if no group is valid."""
    return jnp.sum(of_group * feature.valid) / jnp.maximum(jnp.sum(feature.valid), 1.0)

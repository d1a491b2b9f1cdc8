"""How a learned drifting field is trained with a generator: its objectives and its steps.

In the system that the operator comes from, the generator's target is detached and nothing else
trains the field, so it stays as initialised (here: the objective `frozen`). Here it learns, on the
samples of the generator's step, which are detached as well:

  lookahead: the energy distance of {x + V(x; P, Q)} to a second, disjoint draw of positives;
  distill: the squared distance of V to the multi-temperature kernel field.
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


class Surroundings(NamedTuple):
    """What the field of one feature sees in a step, in the coordinates of the generator's loss.

    Attributes:
      x: [C, N, D] samples.
      positives: [C, draws * P, D] real points: `LearnedField.draws` disjoint draws of P.
      unconditional: [C, M, D] real points of any class, or None.
      unconditional_weight: [C], of each of them among the negatives, where a sample's is 1.
      cfg_scale: [C], their guidance scale.
      kernel_drift: [C, N, D] of the kernel field of all temperatures.
      valid: [C], 0 for a group that nothing is learned from, otherwise 1.
    """

    x: jax.Array
    positives: jax.Array
    unconditional: jax.Array | None
    unconditional_weight: jax.Array | None
    cfg_scale: jax.Array | None
    kernel_drift: jax.Array
    valid: jax.Array


class Networks(NamedTuple):
    """The fields of all features, and their optimiser's state."""

    params: Any
    opt_state: Any


@dataclasses.dataclass(frozen=True)
class FieldSettings:
    """The keys of config.field, for config.method.field = "learned"; a kernel field reads none."""

    # What the field learns. lookahead: to bring samples near a second draw of positives in one
    # step. distill: the kernel field of all method.temperatures. frozen: nothing; it stays as it
    # was initialised, as in the system that it comes from.
    objective: str = "lookahead"
    steps: int = 1  # of the field a step of the generator; each draws positives of its own
    norm_penalty: float = 0.01  # times the field's mean square, in units of the mean distance
    mask_self: bool = True  # a sample is not its own negative
    kernel_weight: float = 0.0  # of the kernel field of all temperatures, added to the learned
    hidden: int = 256  # units between the two layers of the representation
    projection: int = 256  # values of a representation; 0: the features themselves
    score_hidden: int = 128  # hidden units of the network that scores pairs

    def check(self) -> None:
        """Raises ConfigError for a value outside what it can be; the key is named."""
        one_of("field.objective", self.objective, OBJECTIVES)
        values = vars(self)
        for key in ("steps", "hidden", "score_hidden"):
            if values[key] < 1:
                raise ConfigError(f"config.field.{key} = {values[key]}: needs at least 1")
        for key in ("projection", "norm_penalty"):
            if values[key] < 0:
                raise ConfigError(f"config.field.{key} = {values[key]} is negative")

    def check_sets(self, *sizes: int) -> None:
        """Raises ConfigError where sets of these sizes, 0 for none, have no energy distance."""
        if self.objective == "lookahead" and min(size or 2 for size in sizes) < 2:
            raise ConfigError(
                "config.field.objective = 'lookahead' needs at least 2 of config.method."
                "num_generated, num_positives and num_unconditional (if any)"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class LearnedField:
    """One field a feature.

    Attributes:
      settings: config.field.
      dimensions: of each feature.
    """

    settings: FieldSettings
    dimensions: tuple[int, ...]
    optimizer: optax.GradientTransformation

    @classmethod
    def from_config(
        cls, config: Any, dimensions: tuple[int, ...], total_steps: int
    ) -> "LearnedField":
        """From config.field and config.field_optimizer.

        Raises:
          ConfigError: a value is outside what it can be; the key is named.
        """
        settings = config_lib.typed(FieldSettings, config.field, "field")
        settings.check()
        optimizer, _ = optimizers.make_optimizer(
            config.field_optimizer, total_steps * settings.steps, "field_optimizer"
        )
        return cls(settings, dimensions, optimizer)

    @property
    def draws(self) -> int:
        """Disjoint draws of positives that a step of the generator needs."""
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
        self, params: dict[str, learned.Params], features: list[Surroundings]
    ) -> tuple[jax.Array, ...]:
        """V [C, N, D] of each feature, from the first draw of positives; without gradient."""
        own = self._drifts(params, [self._sets(f, 0) for f in features])
        return tuple(
            jax.lax.stop_gradient(v + self.settings.kernel_weight * f.kernel_drift)
            for v, f in zip(own, features, strict=True)
        )

    def train(
        self, networks: Networks, features: list[Surroundings]
    ) -> tuple[Networks, dict[str, jax.Array]]:
        """`steps` steps of the objective, lookahead's on draws i and i + 1; metrics of the last."""
        if self.settings.objective == "frozen":
            return networks, {}
        features = jax.lax.stop_gradient(features)

        def step(networks: Networks, draw: jax.Array) -> tuple[Networks, dict[str, jax.Array]]:
            draw = jnp.minimum(draw, self.draws - 1)
            gradient = jax.value_and_grad(self._loss, has_aux=True)
            (loss, metrics), grads = gradient(networks.params, features, draw)
            updates, opt_state = self.optimizer.update(grads, networks.opt_state, networks.params)
            params = optax.apply_updates(networks.params, updates)
            norm = optax.tree.norm(grads)
            metrics = {"field_loss": loss, "field_grad_norm": norm, **metrics}
            return Networks(params, opt_state), metrics

        networks, metrics = jax.lax.scan(step, networks, jnp.arange(self.settings.steps))
        return networks, jax.tree.map(lambda m: m[-1], metrics)

    def _sets(self, feature: Surroundings, draw: int | jax.Array) -> learned.Sets:
        negatives, weight = feature.x, None
        if feature.unconditional is not None:
            negatives = jnp.concatenate([feature.x, feature.unconditional], axis=1)
            ones = jnp.ones(feature.x.shape[:2], negatives.dtype)
            each = jnp.broadcast_to(
                feature.unconditional_weight[:, None], feature.unconditional.shape[:2]
            )
            weight = jnp.concatenate([ones, each], axis=1)
        return learned.Sets(feature.x, self._draw(feature, draw), negatives, weight)

    def _draw(self, feature: Surroundings, number: int | jax.Array) -> jax.Array:
        """One of the draws of positives: [C, P, D]."""
        size = feature.positives.shape[1] // self.draws
        return jax.lax.dynamic_slice_in_dim(feature.positives, number * size, size, axis=1)

    def _drifts(
        self, params: dict[str, learned.Params], sets: list[learned.Sets]
    ) -> tuple[jax.Array, ...]:
        each = [params[f"feature_{i}"] for i in range(len(sets))]
        return learned.drifts(each, sets, "masked" if self.settings.mask_self else "kept")

    def _loss(
        self, params: dict[str, learned.Params], features: list[Surroundings], draw: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The mean over features of the objective, each in units of its own mean distance."""
        drifts = self._drifts(params, [self._sets(f, draw) for f in features])
        of_feature = self._lookahead if self.settings.objective == "lookahead" else self._distill
        parts = [of_feature(v, f, draw) for v, f in zip(drifts, features, strict=True)]
        mean = jax.tree.map(lambda *m: jnp.mean(jnp.stack(m)), *parts)
        return mean.pop("loss"), mean

    def _lookahead(
        self, drift: jax.Array, feature: Surroundings, draw: jax.Array
    ) -> dict[str, jax.Array]:
        heldout = self._draw(feature, draw + 1)
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
        self, drift: jax.Array, feature: Surroundings, draw: jax.Array
    ) -> dict[str, jax.Array]:
        """The squared error as a share of the kernel field's own mean square."""
        del draw
        error, square = (
            _mean_of_valid(jnp.mean(jnp.square(v), axis=(1, 2)), feature)
            for v in (drift - feature.kernel_drift, feature.kernel_drift)
        )
        return {"loss": error / (square + 1e-8)}


def _mean_of_valid(of_group: jax.Array, feature: Surroundings) -> jax.Array:
    """The mean of [C] over the groups that count; 0 where none does."""
    return jnp.sum(of_group * feature.valid) / jnp.maximum(jnp.sum(feature.valid), 1.0)

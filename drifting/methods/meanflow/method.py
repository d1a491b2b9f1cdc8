"""The method: a network of mean velocities, its split loss, and its samplers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from drifting.core import optimizers
from drifting.core import state as state_lib
from drifting.core.errors import ConfigError
from drifting.core.method import FlowGenerator, Grid, Scatter
from drifting.core.state import TrainState
from drifting.flows import objective, paths, solvers
from drifting.methods import gradients, shown
from drifting.methods.batches import augmented_batch
from drifting.methods.meanflow import diagnostics, draws
from drifting.methods.meanflow.draws import Examples, Keys
from drifting.methods.meanflow.settings import Settings
from input_pipeline.data import Data
from models.conditions import Condition


@dataclasses.dataclass(frozen=True, eq=False)
class MeanFlow(FlowGenerator):
    """A network that learns mean velocities, or instantaneous ones, and is sampled along them."""

    settings_type = Settings
    family = "generator"
    default_network = "unet"
    network_name = "velocity"
    default_optimizers: ClassVar[Mapping[str, Any]] = {
        "optimizer": optimizers.AdamW(weight_decay=0.0, beta2=0.999, clip_norm=0.0)
    }
    defaults: ClassVar[Mapping[str, Any]] = {"eval.cfg_scale": 1.0}
    streams = True

    @property
    def parts(self) -> tuple[int, ...]:
        """Rows with r != t, then with r = t, that are computed at once; an empty part is left out.

        Static, and devices divide each.
        """
        return tuple(n // self.settings.micro_batches for n in self.settings.rows if n)

    # --- state -----------------------------------------------------------------------------------

    def init(self, key: jax.Array) -> TrainState:
        """A fresh state at step 0."""
        one = jnp.zeros((1,))
        condition = self._condition(one, one, jnp.zeros((1,), jnp.int32))
        variables = self.network.init(key, jnp.zeros((1, *self.space.shape)), condition)
        return TrainState.create({"velocity": variables["params"]}, self.optimizers, self.decays)

    # --- training --------------------------------------------------------------------------------

    def train_step(
        self, state: TrainState, data: Data, key: jax.Array, frozen: Mapping[str, Any]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One step on the next batch of an endless stream of shuffled epochs. Metrics are scalars.

        `error_r_eq_t` and `error_r_neq_t` are squared errors a value; the first is flow matching's
        loss, also where the adaptive weight makes `loss` itself nearly constant.
        """
        del frozen
        keys = Keys.of(key)
        x, labels = augmented_batch(
            data, state.step, keys.augment, seed=self.seed, batch_size=self.batch_size,
            crop_padding=0, flip=self.flip,
        )  # fmt: skip
        parts = draws.examples(self.settings, self.num_classes, keys, x, labels)
        gradient = jax.grad(self.mean_loss, has_aux=True)
        grads, metrics = gradients.mean_over_chunks(
            lambda parts, key: gradient(state.params["velocity"], parts, key),
            parts, keys.dropout, self.settings.micro_batches,
        )  # fmt: skip
        metrics |= {"grad_norm": optax.tree.norm(grads), "lr": self.schedule(state.step)}
        state = state_lib.optimize(state, {"velocity": grads}, self.optimizers)
        return state_lib.count(state_lib.average(state, self.decays)), metrics

    def mean_loss(
        self, params: Any, parts: tuple[Examples, ...], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss over all parts of a batch, and the metrics."""
        total, metrics = jnp.zeros(()), {}
        for i, examples in enumerate(parts):
            curved = i == 0 and self.settings.curved > 0
            examples = jax.tree.map(state_lib.shard_batch, examples)
            errors = self.errors(params, examples, curved, jax.random.fold_in(key, i))
            total += jnp.sum(
                objective.adaptive(errors, self.settings.norm_power, self.settings.norm_epsilon)
            )
            name = "error_r_neq_t" if curved else "error_r_eq_t"
            metrics[name] = jnp.mean(errors) / self.space.size
        loss = total / sum(len(examples.t) for examples in parts)
        return loss, {"loss": loss, **metrics}

    def errors(self, params: Any, examples: Examples, curved: bool, key: jax.Array) -> jax.Array:
        """Squared errors [B], summed over an example's values.

        Args:
          curved: by a Jacobian-vector product, as r != t needs. Without, r = t is taken for
            granted, where the derivative's factor t - r is 0.
        """
        z, v = paths.interpolate(examples.x, examples.e, examples.t)
        r, t = examples.r, examples.t

        def u(z: jax.Array, t: jax.Array, h: jax.Array) -> jax.Array:
            return self._velocity(params, z, t, h, examples.labels, not curved, key)

        if self.settings.guided:
            v = self._guided_velocity(params, examples, z, v)
        if not curved:
            return objective.squared_error(u(z, t, jnp.zeros_like(t)), v)
        tangent = v
        if self.settings.loss == "improved":  # along the field itself, not along one example's path
            now = self._velocity(params, z, t, jnp.zeros_like(t), examples.labels, True, key)
            tangent = jax.lax.stop_gradient(now)
        predicted, du_dt = objective.mean_velocity(u, z, r, t, tangent)
        return objective.squared_error(predicted, objective.regression_target(v, r, t, du_dt))

    def _guided_velocity(
        self, params: Any, examples: Examples, z: jax.Array, v: jax.Array
    ) -> jax.Array:
        """Of labelled examples; those of the null class keep v."""

        def now(labels: jax.Array) -> jax.Array:
            h = jnp.zeros_like(examples.t)
            return self._velocity(params, z, examples.t, h, labels, fused=True)

        null = now(jnp.full_like(examples.labels, self.num_classes))
        s = self.settings
        conditional = now(examples.labels) if s.guidance_kappa else None
        window = (s.guidance_start, s.guidance_end)
        guided = objective.guided_velocity(
            v, null, conditional, examples.t, s.guidance_omega, s.guidance_kappa, window
        )
        return jnp.where(paths.broadcast(examples.dropped, v), v, guided)

    def _velocity(
        self,
        params: Any,
        z: jax.Array,
        t: jax.Array,
        h: jax.Array,
        labels: jax.Array,
        fused: bool,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """The network's u; `fused` kernels have no forward-mode derivative."""
        network = self.network.fused() if fused else self.network
        train = dropout_key is not None
        rngs = {"dropout": dropout_key} if train else None
        condition = self._condition(t, h, labels)
        return network.apply({"params": params}, z, condition, train=train, rngs=rngs)

    def _condition(self, t: jax.Array, h: jax.Array, labels: jax.Array) -> Condition:
        conditional = self.settings.class_conditional
        return Condition(time=t, interval=h, label=labels if conditional else None)

    # --- sampling --------------------------------------------------------------------------------

    @property
    def sampler_name(self) -> str:
        """As euler-50: the sampler and its steps."""
        return f"{self.settings.sampler}-{self.settings.sampling_steps}"

    def with_sampler(self, sampler: str | None, steps: int | None) -> "MeanFlow":
        """The same method, sampling in another way; None is as it was.

        Raises:
          ConfigError: no such sampler, or one that this run did not learn.
        """
        settings = dataclasses.replace(
            self.settings,
            sampler=sampler or self.settings.sampler,
            sampling_steps=steps or self.settings.sampling_steps,
        )
        settings.check_sampler()
        return dataclasses.replace(self, settings=settings)

    def nfe(self, cfg_scale: float) -> int:
        """Network evaluations a sample; guidance evaluates the null class as well."""
        evaluations = solvers.evaluations(self.settings.sampler, self.settings.sampling_steps)
        return evaluations * (1 if cfg_scale == 1.0 else 2)

    def sample(
        self,
        state: TrainState,
        key: jax.Array,
        labels: jax.Array,
        cfg_scale: float = 1.0,
        ema: bool = True,
    ) -> jax.Array:
        """Data [B, ...] of `labels` [B], images about in [-1, 1], from noise at t = 1.

        Raises:
          ConfigError: guidance asked of a run that has not trained a null class beside others.
        """
        z = jax.random.normal(key, (len(labels), *self.space.shape))
        return self.trajectory(state, z, labels, cfg_scale, ema)[0]

    def trajectory(
        self,
        state: TrainState,
        z: jax.Array,
        labels: jax.Array,
        cfg_scale: float = 1.0,
        ema: bool = True,
    ) -> tuple[jax.Array, jax.Array]:
        """From noise z [B, ...] to data, and all states on the way, [steps + 1, B, ...]."""
        u = self.field(state, labels, cfg_scale, ema)
        z, steps = state_lib.shard_batch(z), self.settings.sampling_steps
        if self.settings.sampler == "meanflow":

            def advance(z, t, s):  # z_s = z_t - (t - s) u(z_t, s, t)
                return z - (t - s) * u(z, t, t - s)

            return solvers.follow(advance, z, steps)
        instantaneous = lambda z, t: u(z, t, jnp.zeros_like(t))  # noqa: E731
        return solvers.solve(self.settings.sampler, instantaneous, z, steps)

    def field(
        self, state: TrainState, labels: jax.Array, cfg_scale: float = 1.0, ema: bool = True
    ) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
        """The learned (z [B, ...], t, h) -> u [B, ...] of `labels`, scalar times, with guidance.

        Guidance is u_null + s (u_class - u_null) (Ho and Salimans, arXiv:2207.12598).
        """
        params = state.weights("velocity", ema)
        guided = cfg_scale != 1.0
        if guided and not self.settings.has_null_class:
            raise ConfigError(
                "this run has no null class that was trained beside others (class_conditional = "
                f"{self.settings.class_conditional}, label_dropout = "
                f"{self.settings.label_dropout}), so cfg_scale must be 1"
            )
        asked = labels
        if guided:
            asked = jnp.concatenate([labels, jnp.full_like(labels, self.num_classes)])

        def u(z: jax.Array, t: jax.Array, h: jax.Array) -> jax.Array:
            if guided:
                z = jnp.concatenate([z, z])
            times = (jnp.broadcast_to(s, (len(asked),)) for s in (t, h))
            found = self._velocity(params, z, *times, asked, fused=True)
            if not guided:
                return found
            conditional, null = jnp.split(found, 2)
            return null + cfg_scale * (conditional - null)

        return u

    # --- what to look at -------------------------------------------------------------------------

    def summaries(
        self, state: TrainState, key: jax.Array, data: Data, frozen: Mapping[str, Any]
    ) -> dict[str, Grid | Scatter]:
        """Samples, see `shown.samples`."""
        return shown.samples(self, state, key, data, frozen, self.settings.class_conditional)

    def diagnostics(self, state: TrainState, key: jax.Array, data: Data) -> dict[str, jax.Array]:
        """Numbers that say how a run goes, see `diagnostics.measure`."""
        return diagnostics.measure(self, state, key, data)

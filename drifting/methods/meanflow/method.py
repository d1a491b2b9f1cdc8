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
    """A network of mean or instantaneous velocities, along which samples are drawn."""

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
        """Rows with r != t and with r = t that are computed at once, without empty parts.

        These are static; the number of devices has to divide each.
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

        `error_r_eq_t` and `error_r_neq_t` are mean squared errors. The first is the loss of flow
        matching, which is informative even where the adaptive weight makes `loss` nearly constant.
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
        """The mean loss over all parts of a batch, and the metrics."""
        total, metrics = jnp.zeros(()), {}
        for i, examples in enumerate(parts):
            r_neq_t = i == 0 and self.settings.rows_r_neq_t > 0
            examples = jax.tree.map(state_lib.shard_batch, examples)
            errors = self.errors(params, examples, r_neq_t, jax.random.fold_in(key, i))
            total += jnp.sum(
                objective.adaptive(errors, self.settings.norm_power, self.settings.norm_epsilon)
            )
            name = "error_r_neq_t" if r_neq_t else "error_r_eq_t"
            metrics[name] = jnp.mean(errors) / self.space.size
        loss = total / sum(len(examples.t) for examples in parts)
        return loss, {"loss": loss, **metrics}

    def errors(self, params: Any, examples: Examples, r_neq_t: bool, key: jax.Array) -> jax.Array:
        """|u - stopgrad(v - (t - r) du/dt)|^2 of each example, [B].

        Args:
          r_neq_t: compute du/dt by a Jacobian-vector product. If False, r = t is assumed, for
            which the factor t - r is 0.
        """
        z, v = paths.interpolate(examples.x, examples.e, examples.t)
        r, t = examples.r, examples.t

        def u(z: jax.Array, t: jax.Array, h: jax.Array) -> jax.Array:
            return self._velocity(params, z, t, h, examples.labels, not r_neq_t, key)

        if self.settings.guided:
            v = self._guided_velocity(params, examples, z, v)
        if not r_neq_t:
            return objective.squared_error(u(z, t, jnp.zeros_like(t)), v)
        tangent = v
        if self.settings.loss == "improved":  # along the learned field, not one example's path
            now = self._velocity(params, z, t, jnp.zeros_like(t), examples.labels, True, key)
            tangent = jax.lax.stop_gradient(now)
        predicted, du_dt = objective.mean_velocity(u, z, r, t, tangent)
        return objective.squared_error(predicted, objective.regression_target(v, r, t, du_dt))

    def _guided_velocity(
        self, params: Any, examples: Examples, z: jax.Array, v: jax.Array
    ) -> jax.Array:
        """The guided velocity of each example; v for the null class."""

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
        """The network's u. Kernels that are `fused` have no forward-mode derivative."""
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
        """The sampler and its steps, such as euler-50."""
        return f"{self.settings.sampler}-{self.settings.sampling_steps}"

    def with_sampler(self, sampler: str | None, steps: int | None) -> "MeanFlow":
        """The method with another sampler or number of steps; None keeps the current one.

        Raises:
          ConfigError: the sampler is unknown, or needs what this run does not learn.
        """
        settings = dataclasses.replace(
            self.settings,
            sampler=sampler or self.settings.sampler,
            sampling_steps=steps or self.settings.sampling_steps,
        )
        settings.check_sampler()
        return dataclasses.replace(self, settings=settings)

    def nfe(self, cfg_scale: float) -> int:
        """Network evaluations per sample; guidance also evaluates the null class."""
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
        """Samples [B, ...] of `labels` [B], approximately in [-1, 1], from noise at t = 1.

        Raises:
          ConfigError: `cfg_scale` is not 1 and the run has no trained null class.
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
        """Data [B, ...] from noise z [B, ...], and all states in between, [steps + 1, B, ...]."""
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
        """The learned function (z [B, ...], t, h) -> u [B, ...] for `labels` and scalar times.

        With guidance it is u_null + s (u_class - u_null) (Ho and Salimans, arXiv:2207.12598).
        """
        params = state.weights("velocity", ema)
        guided = cfg_scale != 1.0
        if guided and not self.settings.has_null_class:
            raise ConfigError(
                "this run has no null class trained in addition to the others (class_conditional "
                f"= {self.settings.class_conditional}, label_dropout = "
                f"{self.settings.label_dropout}), so cfg_scale must be 1 (config.eval.cfg_scale, "
                "--cfg_scale)"
            )
        asked = labels
        if guided:
            asked = jnp.concatenate([labels, jnp.full_like(labels, self.num_classes)])  # [2 B]

        def u(z: jax.Array, t: jax.Array, h: jax.Array) -> jax.Array:
            if guided:
                z = jnp.concatenate([z, z])  # [2 B, ...]
            times = (jnp.broadcast_to(s, (len(asked),)) for s in (t, h))
            found = self._velocity(params, z, *times, asked, fused=True)
            if not guided:
                return found
            conditional, null = jnp.split(found, 2)
            return null + cfg_scale * (conditional - null)

        return u

    # --- pictures and measures -------------------------------------------------------------------

    def summaries(
        self, state: TrainState, key: jax.Array, data: Data, frozen: Mapping[str, Any]
    ) -> dict[str, Grid | Scatter]:
        """A picture of samples, see `shown.samples`."""
        return shown.samples(self, state, key, data, frozen, self.settings.class_conditional)

    def diagnostics(self, state: TrainState, key: jax.Array, data: Data) -> dict[str, jax.Array]:
        """Measures of progress, see `diagnostics.measure`."""
        return diagnostics.measure(self, state, key, data)

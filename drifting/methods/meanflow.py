"""Flow matching and MeanFlow in one method: the share of examples with r != t tells them apart.

Geng et al., "Mean Flows for One-step Generative Modeling" (arXiv:2505.13447); improved: "Improved
Mean Flows: On the Challenges of Fastforward Generative Models" (arXiv:2512.02012). What is learned
is u(z, r, t), the mean velocity between r and t; where r = t it is the velocity of flow matching
(arXiv:2210.02747). A batch is split statically: the rows with r != t take a Jacobian-vector
product, whose primal is the forward pass, and the others an ordinary forward pass.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from drifting.core import optimizers
from drifting.core import state as state_lib
from drifting.core.errors import ConfigError, one_of
from drifting.core.method import DataFacts, FlowGenerator, Grid, Scatter
from drifting.core.state import TrainState
from drifting.fields.objectives import energy_distance
from drifting.flows import objective, paths, solvers
from drifting.methods import gradients, shown
from drifting.methods.batches import BatchSettings, augmented_batch
from input_pipeline.data import Data
from models.conditions import Condition

LOSSES = ("meanflow", "improved")
SAMPLERS = ("meanflow", *solvers.SOLVERS)
REFERENCE_STEPS = 32  # of the solution that a single step is compared with


@dataclasses.dataclass(frozen=True)
class Settings(BatchSettings):
    """The keys of config.method; values of the release for ImageNet latents (arXiv:2505.13447)."""

    # The share of a batch with r != t, which mean velocities are learned from; 0: flow matching.
    # Releases say 0.75 of either share: this one says which.
    share_r_neq_t: float = 0.25
    # meanflow: along e - x. improved: along the network's own velocity (iMF, arXiv:2512.02012).
    loss: str = "meanflow"
    norm_power: float = 1.0  # of the adaptive weight 1 / (|error|^2 + norm_epsilon)^norm_power
    norm_epsilon: float = 0.01
    times: str = "logit_normal"  # or uniform; r and t are two draws, in order
    times_mean: float = -0.4
    times_std: float = 1.0
    class_conditional: bool = True
    label_dropout: float = 0.1  # trains the null class, which guidance needs
    # Guidance in training: of the target omega v + (1 - omega - kappa) u_null + kappa u_class, for
    # t in [start, end]; about a guidance scale of omega / (1 - kappa), at one evaluation a sample.
    guidance_omega: float = 1.0
    guidance_kappa: float = 0.0
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    sampler: str = "meanflow"  # or euler, heun, rk4, on instantaneous velocities
    sampling_steps: int = 1
    num_diagnosed: int = 256  # samples of the energy distance and one-step error in training

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError for a value that cannot be; the key is named."""
        super().check(facts)
        one_of("method.loss", self.loss, LOSSES)
        one_of("method.times", self.times, paths.TIMES)
        for name in ("share_r_neq_t", "label_dropout", "guidance_start", "guidance_end"):
            value = vars(self)[name]
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"config.method.{name} = {value} is not in [0, 1]")
        if self.share_r_neq_t and not self.curved:
            raise ConfigError(
                f"config.method.share_r_neq_t = {self.share_r_neq_t} of config.method.batch_size = "
                f"{self.batch_size} is less than one row"
            )
        curved, straight = self.rows
        what = f"the {curved} rows with r != t and the {straight} with r = t"
        for rows in self.rows:
            gradients.require_division(self.micro_batches, rows, what)
        if self.guided and not self.has_null_class:
            raise ConfigError(
                "guidance in training (config.method.guidance_omega, guidance_kappa) needs "
                "class_conditional = True and label_dropout > 0: it is taken from the null class"
            )
        self.check_sampler()

    def check_sampler(self) -> None:
        """Raises ConfigError for a sampler that there is not, or that this run did not learn."""
        one_of("method.sampler", self.sampler, SAMPLERS)
        if self.sampling_steps < 1:
            raise ConfigError(
                f"config.method.sampling_steps = {self.sampling_steps} is less than one"
            )
        if self.sampler == "meanflow" and not self.curved:
            raise ConfigError(
                "the sampler 'meanflow' needs mean velocities, and config.method.share_r_neq_t = "
                f"0 learns instantaneous ones alone; choose one of {', '.join(solvers.SOLVERS)}"
            )

    @property
    def curved(self) -> int:
        """Rows of a batch with r != t, the first ones; 0 in flow matching."""
        return round(self.share_r_neq_t * self.batch_size)

    @property
    def rows(self) -> tuple[int, int]:
        """Of a batch with r != t, and with r = t."""
        return self.curved, self.batch_size - self.curved

    @property
    def guided(self) -> bool:
        """Whether training regresses on the guided velocity."""
        return self.guidance_omega != 1.0 or self.guidance_kappa != 0.0

    @property
    def has_null_class(self) -> bool:
        """Whether a null class is trained beside others."""
        return self.class_conditional and self.label_dropout > 0

    @property
    def needs(self) -> dict[str, str]:
        needed = {"time": "method 'meanflow'"}
        if self.curved:
            needed["interval"] = f"config.method.share_r_neq_t = {self.share_r_neq_t:g}"
        if self.class_conditional:
            needed["label"] = "config.method.class_conditional = True"
        return needed

    def num_labels(self, facts: DataFacts) -> int:
        return facts.num_classes if self.class_conditional else 0


class Examples(NamedTuple):
    """B training examples, before the network.

    Attributes:
      x, e: data and noise, [B, ...].
      r, t: [B], 0 <= r <= t <= 1.
      labels: int32 [B], null where dropped.
      dropped: bool [B].
    """

    x: jax.Array
    e: jax.Array
    r: jax.Array
    t: jax.Array
    labels: jax.Array
    dropped: jax.Array


class Keys(NamedTuple):
    """The named random streams of one step."""

    augment: jax.Array
    noise: jax.Array
    times: jax.Array
    label_dropout: jax.Array
    dropout: jax.Array


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
        keys = Keys(*jax.random.split(key, len(Keys._fields)))
        x, labels = augmented_batch(
            data, state.step, keys.augment, seed=self.seed, batch_size=self.batch_size,
            crop_padding=0, flip=self.flip,
        )  # fmt: skip
        parts = self.examples(keys, x, labels)
        gradient = jax.grad(self.mean_loss, has_aux=True)
        grads, metrics = gradients.mean_over_chunks(
            lambda parts, key: gradient(state.params["velocity"], parts, key),
            parts, keys.dropout, self.settings.micro_batches,
        )  # fmt: skip
        metrics |= {"grad_norm": optax.tree.norm(grads), "lr": self.schedule(state.step)}
        state = state_lib.optimize(state, {"velocity": grads}, self.optimizers)
        return state_lib.count(state_lib.average(state, self.decays)), metrics

    def examples(self, keys: Keys, x: jax.Array, labels: jax.Array) -> tuple[Examples, ...]:
        """The examples of a batch x [B, ...]: its rows with r != t, then those with r = t.

        Which labels are dropped does not depend on which rows have r = t. (In a release both were
        the batch's first rows, so that its null class hardly ever saw r < t.) As released, t is
        the later of two draws in both parts; without a part of r != t it is one draw.
        """
        n, s = self.batch_size, self.settings
        how = (s.times, s.times_mean, s.times_std)
        if s.curved:
            r, t = paths.sample_intervals(keys.times, n, *how)
            r = jnp.where(jnp.arange(n) < s.curved, r, t)
        else:
            r = t = paths.sample_times(keys.times, n, *how)
        dropped = jax.random.uniform(keys.label_dropout, (n,)) < s.label_dropout
        labels = jnp.where(dropped, self.num_classes, labels)
        e = jax.random.normal(keys.noise, x.shape)
        whole = Examples(x, e, r, t, labels, dropped)
        parts = (slice(0, s.curved), slice(s.curved, n))
        parts = (jax.tree.map(lambda a, rows=rows: a[rows], whole) for rows in parts)
        return tuple(examples for examples in parts if len(examples.t))

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

    def errors(
        self, params: Any, examples: Examples, curved: bool, key: jax.Array
    ) -> jax.Array:
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
        """Numbers that say how a run goes, of config.method.num_diagnosed samples.

        `energy_distance` of samples to data (of points or pixels, with the pairs of a point with
        itself), and `energy_distance_real` of two draws of data of the same size, about its floor:
        samples are of the very labels of the data that they are compared with. Where
        mean velocities are learned `one_step_error`: the root mean square difference of a single
        step and the run's own solution in 32 steps, over that of the solution from the noise. It
        is 0 before training: a network of zeros agrees with itself.
        """
        keys = jax.random.split(key, 2)
        n = min(self.settings.num_diagnosed, data.num_rows // 2)
        real, labels = data.draw(keys[0], 2 * n)
        z = jax.random.normal(keys[1], (n, *self.space.shape))
        labels = labels[:n]
        samples, _ = self.trajectory(state, z, labels)
        found = {
            "energy_distance": _energy_distance(samples, real[:n]),
            "energy_distance_real": _energy_distance(real[n:], real[:n]),
        }
        if self.settings.curved:
            one, many = (
                self.with_sampler("meanflow", steps).trajectory(state, z, labels)[0]
                for steps in (1, REFERENCE_STEPS)
            )
            found["one_step_error"] = _rms(one - many) / jnp.maximum(_rms(many - z), 1e-12)
        return found


def _energy_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    flat = (a.reshape(1, len(a), -1) for a in (x, y))
    return energy_distance(*flat, own_pairs=True)[0]


def _rms(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(x)))

"""Flow matching and MeanFlow in one method: the share of examples with r != t tells them apart.

Geng et al., "Mean Flows for One-step Generative Modeling" (arXiv:2505.13447); improved: "Improved
Mean Flows: On the Challenges of Fastforward Generative Models" (arXiv:2512.02012). What is learned
is u(z, r, t), the mean velocity between r and t; where r = t it is the velocity of flow matching
(arXiv:2210.02747). A batch is split statically: the rows with r != t take a Jacobian-vector
product, whose primal is the forward pass, and the others an ordinary forward pass.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from drifting.core import config as config_lib
from drifting.core import state as state_lib
from drifting.core.errors import ConfigError, one_of
from drifting.core.state import TrainState
from drifting.fields.objectives import energy_distance
from drifting.flows import objective, paths, solvers
from drifting.methods import labelled
from input_pipeline import augment, pixels, resident
from input_pipeline.streaming import Batch
from models import velocity

LOSSES = ("meanflow", "improved")
SAMPLERS = ("meanflow", *solvers.SOLVERS)
REFERENCE_STEPS = 32  # of the solution that a single step is compared with
GRID_ROWS, GRID_COLUMNS = 8, 10


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
class MeanFlow:
    """See `from_config` for where each value comes from and configs/base.py for what it means."""

    network: nn.Module
    image_shape: tuple[int, ...]
    num_classes: int
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    ema_decay: float
    seed: int
    flip: bool
    batch_size: int
    micro_batches: int
    class_conditional: bool
    label_dropout: float
    loss: str
    share_r_neq_t: float
    times: str
    times_mean: float
    times_std: float
    norm_power: float
    norm_epsilon: float
    guidance_omega: float
    guidance_kappa: float
    guidance_start: float
    guidance_end: float
    sampler: str
    sampling_steps: int
    num_diagnosed: int

    streams = True

    @classmethod
    def from_config(cls, config: Any, facts: Any) -> "MeanFlow":
        """Builds the method.

        Raises:
          ConfigError: a value of the config is outside what it can be; the key is named.
        """
        values = config.method.to_dict()
        values.pop("name")
        num_classes = facts.num_classes if config.method.class_conditional else 0
        total = config_lib.to_steps(
            config.train, "total", config.method.batch_size, facts.num_images
        )
        optimizer, schedule = state_lib.make_optimizer(config.optimizer, total)
        method = cls(
            network=_network(config, facts.image_shape, num_classes),
            image_shape=tuple(facts.image_shape),
            num_classes=facts.num_classes,
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
        one_of("method.loss", self.loss, LOSSES)
        one_of("method.times", self.times, paths.TIMES)
        for name in ("share_r_neq_t", "label_dropout", "guidance_start", "guidance_end"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"config.method.{name} = {getattr(self, name)} is not in [0, 1]")
        if self.share_r_neq_t and not self.curved:
            raise ConfigError(
                f"config.method.share_r_neq_t = {self.share_r_neq_t} of config.method.batch_size = "
                f"{self.batch_size} is less than one row"
            )
        if self.flip and self.is_points:
            raise ConfigError("config.data.flip mirrors images; points have no left and right")
        if self.micro_batches < 1 or any(n % self.micro_batches for n in self._rows):
            raise ConfigError(
                f"config.method.micro_batches = {self.micro_batches} does not divide the "
                f"{self._rows[0]} rows with r != t and the {self._rows[1]} with r = t"
            )
        if self.guided and not (self.class_conditional and self.label_dropout):
            raise ConfigError(
                "guidance in training (config.method.guidance_omega, guidance_kappa) needs "
                "class_conditional = True and label_dropout > 0: it is taken from the null class"
            )
        self.require_sampler(self.sampler, self.sampling_steps)

    def require_sampler(self, sampler: str, steps: int) -> None:
        """Raises ConfigError for a sampler that there is not, or that this run did not learn."""
        one_of("method.sampler", sampler, SAMPLERS)
        if steps < 1:
            raise ConfigError(f"config.method.sampling_steps = {steps} is less than one")
        if sampler == "meanflow" and not self.curved:
            raise ConfigError(
                "the sampler 'meanflow' needs mean velocities, and config.method.share_r_neq_t = "
                f"0 learns instantaneous ones alone; choose one of {', '.join(solvers.SOLVERS)}"
            )

    @property
    def images_per_step(self) -> int:
        return self.batch_size

    @property
    def parts(self) -> tuple[int, ...]:
        """Rows with r != t, then with r = t, that are computed at once; an empty part is left out.

        Static, and devices divide each.
        """
        return tuple(n // self.micro_batches for n in self._rows if n)

    @property
    def _rows(self) -> tuple[int, int]:
        """Of a batch with r != t, and with r = t."""
        return self.curved, self.batch_size - self.curved

    @property
    def curved(self) -> int:
        """Rows of a batch with r != t, the first ones; 0 in flow matching."""
        return round(self.share_r_neq_t * self.batch_size)

    @property
    def guided(self) -> bool:
        """Whether training regresses on the guided velocity."""
        return self.guidance_omega != 1.0 or self.guidance_kappa != 0.0

    @property
    def is_points(self) -> bool:
        return len(self.image_shape) == 1

    @property
    def optimizers(self) -> dict[str, optax.GradientTransformation]:
        return {"velocity": self.optimizer}

    def check_data(self, image_set: Any) -> None:
        """Raises ConfigError where there is less than a batch of data."""
        labelled.require_batch(image_set, self.batch_size)

    # --- state -----------------------------------------------------------------------------------

    def init(self, key: jax.Array) -> TrainState:
        """A fresh state at step 0."""
        one = jnp.zeros((1,))
        labels = jnp.zeros((1,), jnp.int32)
        variables = self.network.init(key, jnp.zeros((1, *self.image_shape)), one, one, labels)
        return TrainState.create({"velocity": variables["params"]}, self.optimizers)

    # --- training --------------------------------------------------------------------------------

    def train_step(
        self,
        state: TrainState,
        data: resident.Resident | Batch,
        key: jax.Array,
        frozen: Any = None,
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One step on the next batch of an endless stream of shuffled epochs. Metrics are scalars.

        `error_r_eq_t` and `error_r_neq_t` are squared errors a value; the first is flow matching's
        loss, also where the adaptive weight makes `loss` itself nearly constant.
        """
        del frozen
        keys = Keys(*jax.random.split(key, len(Keys._fields)))
        x, labels = self._draw_data(data, state.step, keys.augment)
        parts = self.examples(keys, x, labels)
        grads, metrics = self._gradient(state.params["velocity"], parts, keys.dropout)
        metrics |= {"grad_norm": optax.tree.norm(grads), "lr": self.schedule(state.step)}
        grads = {"velocity": grads}
        state = state_lib.apply_gradients(
            state, grads, self.optimizers, self.ema_decay, state.extra
        )
        return state, metrics

    def _draw_data(
        self, data: resident.Resident | Batch, step: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        if isinstance(data, Batch):
            x, labels = pixels.to_model(data.images), data.labels
            return (augment.random_flip(key, x) if self.flip else x), labels
        return labelled.batch(
            data, step, key, seed=self.seed, batch_size=self.batch_size, crop_padding=0,
            flip=self.flip,
        )  # fmt: skip

    def examples(self, keys: Keys, x: jax.Array, labels: jax.Array) -> tuple[Examples, ...]:
        """The examples of a batch x [B, ...]: its rows with r != t, then those with r = t.

        Which labels are dropped does not depend on which rows have r = t. (In a release both were
        the batch's first rows, so that its null class hardly ever saw r < t.) As released, t is
        the later of two draws in both parts; without a part of r != t it is one draw.
        """
        n = self.batch_size
        how = (self.times, self.times_mean, self.times_std)
        if self.curved:
            r, t = paths.sample_intervals(keys.times, n, *how)
            r = jnp.where(jnp.arange(n) < self.curved, r, t)
        else:
            r = t = paths.sample_times(keys.times, n, *how)
        dropped = jax.random.uniform(keys.label_dropout, (n,)) < self.label_dropout
        labels = jnp.where(dropped, self.num_classes, labels)
        e = jax.random.normal(keys.noise, x.shape)
        whole = Examples(x, e, r, t, labels, dropped)
        parts = (slice(0, self.curved), slice(self.curved, n))
        parts = (jax.tree.map(lambda a, rows=rows: a[rows], whole) for rows in parts)
        return tuple(examples for examples in parts if len(examples.t))

    def _gradient(
        self, params: Any, parts: tuple[Examples, ...], key: jax.Array
    ) -> tuple[Any, dict[str, jax.Array]]:
        """Gradient of the mean loss over the batch, and the metrics.

        Micro-batches hold equally many rows of each part and their means are averaged: the whole
        batch's gradient up to rounding.
        """
        gradient = jax.grad(self.mean_loss, has_aux=True)
        if self.micro_batches == 1:
            return gradient(params, parts, key)

        def in_chunks(a: jax.Array) -> jax.Array:
            return a.reshape(self.micro_batches, -1, *a.shape[1:])

        def add_chunk(total, chunk):
            found = jax.tree.map(lambda a: a / self.micro_batches, gradient(params, *chunk))
            return jax.tree.map(jnp.add, total, found), None

        chunks = (jax.tree.map(in_chunks, parts), jax.random.split(key, self.micro_batches))
        shapes = jax.eval_shape(gradient, params, parts, key)
        zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        return jax.lax.scan(add_chunk, zero, chunks)[0]

    def mean_loss(
        self, params: Any, parts: tuple[Examples, ...], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss over all parts of a batch, and the metrics."""
        total, metrics = jnp.zeros(()), {}
        for i, examples in enumerate(parts):
            curved = i == 0 and self.curved > 0
            examples = jax.tree.map(state_lib.shard_batch, examples)
            errors = self.errors(params, examples, curved, jax.random.fold_in(key, i))
            total += jnp.sum(objective.adaptive(errors, self.norm_power, self.norm_epsilon))
            name = "error_r_neq_t" if curved else "error_r_eq_t"
            metrics[name] = jnp.mean(errors) / math.prod(self.image_shape)
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

        if self.guided:
            v = self._guided_velocity(params, examples, z, v)
        if not curved:
            return objective.squared_error(u(z, t, jnp.zeros_like(t)), v)
        tangent = v
        if self.loss == "improved":  # along the field itself, not along one example's path
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
        conditional = now(examples.labels) if self.guidance_kappa else None
        window = (self.guidance_start, self.guidance_end)
        guided = objective.guided_velocity(
            v, null, conditional, examples.t, self.guidance_omega, self.guidance_kappa, window
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
        network = self.network
        if fused and hasattr(network, "fused_attention"):
            network = network.clone(fused_attention=True)
        train = dropout_key is not None
        rngs = {"dropout": dropout_key} if train else None
        return network.apply({"params": params}, z, t, h, labels, train=train, rngs=rngs)

    # --- sampling --------------------------------------------------------------------------------

    @property
    def sampler_name(self) -> str:
        """As euler-50: the sampler and its steps."""
        return f"{self.sampler}-{self.sampling_steps}"

    def with_sampler(self, sampler: str | None, steps: int | None) -> "MeanFlow":
        """The same method, sampling in another way; None is as it was.

        Raises:
          ConfigError: no such sampler, or one that this run did not learn.
        """
        sampler, steps = sampler or self.sampler, steps or self.sampling_steps
        self.require_sampler(sampler, steps)
        return dataclasses.replace(self, sampler=sampler, sampling_steps=steps)

    def nfe(self, cfg_scale: float) -> int:
        """Network evaluations a sample; guidance evaluates the null class as well."""
        evaluations = solvers.evaluations(self.sampler, self.sampling_steps)
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
        z = jax.random.normal(key, (len(labels), *self.image_shape))
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
        z = state_lib.shard_batch(z)
        if self.sampler == "meanflow":

            def advance(z, t, s):  # z_s = z_t - (t - s) u(z_t, s, t)
                return z - (t - s) * u(z, t, t - s)

            return solvers.follow(advance, z, self.sampling_steps)
        instantaneous = lambda z, t: u(z, t, jnp.zeros_like(t))  # noqa: E731
        return solvers.solve(self.sampler, instantaneous, z, self.sampling_steps)

    def field(
        self, state: TrainState, labels: jax.Array, cfg_scale: float = 1.0, ema: bool = True
    ) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
        """The learned (z [B, ...], t, h) -> u [B, ...] of `labels`, scalar times, with guidance.

        Guidance is u_null + s (u_class - u_null) (Ho and Salimans, arXiv:2207.12598).
        """
        params = (state.ema_params if ema else state.params)["velocity"]
        guided = cfg_scale != 1.0
        if guided and not (self.class_conditional and self.label_dropout):
            raise ConfigError(
                "this run has no null class that was trained beside others (class_conditional = "
                f"{self.class_conditional}, label_dropout = {self.label_dropout}), so cfg_scale "
                "must be 1"
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

    def summaries(self, state: TrainState, key: jax.Array, data: Any) -> dict[str, jax.Array]:
        """Samples: a grid with a column for each of the first ten classes, or points beside data.

        Returns:
          samples [rows, columns, H, W, C]; or points [2, N, 2], samples and data.
        """
        key_noise, key_data = jax.random.split(key)
        if self.is_points:
            real, labels = self._draw_real(data, key_data, 1)
            return {"points": jnp.stack([self.sample(state, key_noise, labels), real])}
        columns = min(self.num_classes, GRID_COLUMNS) if self.class_conditional else GRID_COLUMNS
        labels = jnp.tile(jnp.arange(columns, dtype=jnp.int32), GRID_ROWS)
        images = self.sample(state, key_noise, labels)
        if images.shape[-1] not in (1, 3):  # latents: three of their channels, in false colours
            images = images[..., :3] / 3.0
        return {"samples": images.reshape(GRID_ROWS, columns, *images.shape[1:])}

    def diagnostics(self, state: TrainState, key: jax.Array, data: Any) -> dict[str, jax.Array]:
        """Numbers that say how a run goes, of config.method.num_diagnosed samples.

        `energy_distance` of samples to data (of points or pixels, with the pairs of a point with
        itself), and `energy_distance_real` of two draws of data of the same size, about its floor:
        samples are of the very labels of the data that they are compared with. Where
        mean velocities are learned `one_step_error`: the root mean square difference of a single
        step and the run's own solution in 32 steps, over that of the solution from the noise. It
        is 0 before training: a network of zeros agrees with itself.
        """
        keys = jax.random.split(key, 2)
        real, labels = self._draw_real(data, keys[0], 2)
        n = len(real) // 2
        z = jax.random.normal(keys[1], (n, *self.image_shape))
        labels = labels[:n]
        samples, _ = self.trajectory(state, z, labels)
        found = {
            "energy_distance": _energy_distance(samples, real[:n]),
            "energy_distance_real": _energy_distance(real[n:], real[:n]),
        }
        if self.curved:
            one, many = (
                self.with_sampler("meanflow", steps).trajectory(state, z, labels)[0]
                for steps in (1, REFERENCE_STEPS)
            )
            found["one_step_error"] = _rms(one - many) / jnp.maximum(_rms(many - z), 1e-12)
        return found

    def _draw_real(self, data: Any, key: jax.Array, sets: int) -> tuple[jax.Array, jax.Array]:
        """`sets` disjoint draws of num_diagnosed examples, or of as many as there are, at once."""
        n = sets * min(self.num_diagnosed, len(data.labels) // sets)
        if isinstance(data, Batch):
            return pixels.to_model(data.images[:n]), data.labels[:n]
        return resident.batch(data, key, n)


def _energy_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    flat = (a.reshape(1, len(a), -1) for a in (x, y))
    return energy_distance(*flat, own_pairs=True)[0]


def _rms(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(x)))


def _network(config: Any, image_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    values = config.model.to_dict()
    name = one_of("model.name", values.pop("name"), velocity.NETWORKS)
    try:
        return velocity.create(
            name, values, tuple(image_shape), num_classes, jnp.dtype(config.precision)
        )
    except ValueError as error:
        raise ConfigError(f"config.model: {error}") from error

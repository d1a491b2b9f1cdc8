"""What a training method is: small base classes, which are also what the rest asks about it.

A method is a frozen dataclass of what its config says, with pure functions of states. Its class
says what it can do besides training: generate (`Generator`), encode (`FeatureEncoder`), be scored
on held-out images (`Scored`), translate (`Translator`), compress (`Autoencoder`).

A new one is a file or a folder in drifting/methods, a line in drifting/methods/__init__.py and a
config.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from drifting.core import config as config_lib
from drifting.core import durations, optimizers
from drifting.core.errors import ConfigError, one_of
from drifting.core.facts import DataFacts
from drifting.core.state import TrainState
from input_pipeline import space as spaces
from input_pipeline.data import Data
from models import registry
from models.activations import Activations

# --- what a method shows -------------------------------------------------------------------------


class Grid(NamedTuple):
    """Images in [-1, 1], [rows, columns, H, W, C]."""

    images: jax.Array


class Scatter(NamedTuple):
    """Points [N, 2] over the data [M, 2] that they should be like."""

    points: jax.Array
    data: jax.Array


# --- networks that a step uses and does not train ------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """A trained network in whose features something is measured.

    Attributes:
      name: as it was asked for.
      image_shape: [H, W, C].
      parameters: on one device; arguments of a jitted program, never constants in it.
      encode: (parameters, images [B, H, W, C] in [-1, 1]) -> Activations.
      identity: differs wherever the numbers would.
    """

    name: str
    image_shape: tuple[int, ...]
    parameters: Any
    encode: Callable[[Any, jax.Array], Activations]
    identity: str


# --- methods -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class MethodSettings:
    """The keys of config.method but `name`; a method's own are a dataclass derived from this."""

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError or DataError for values that cannot be, with these data."""

    def completed(self, facts: DataFacts) -> "MethodSettings":
        """With what the data say where a key leaves it to them."""
        del facts
        return self

    @property
    def images_per_step(self) -> int:
        """Real images that a step sees; an epoch is counted in these."""
        raise NotImplementedError

    @property
    def networks(self) -> dict[str, str]:
        """The networks of `frozen`, by name, and what config.method says of where they are."""
        return {}

    @property
    def needs(self) -> dict[str, str]:
        """The fields of a Condition that the network must read, and the keys that say so."""
        return {}

    def num_labels(self, facts: DataFacts) -> int:
        """Classes that the network is told apart from the null class."""
        return facts.num_classes


@dataclasses.dataclass(frozen=True, eq=False)
class Method(abc.ABC):
    """A training method, made by `from_config`.

    Attributes:
      settings: config.method.
      facts: of the data.
      network: the network that is trained, or the main one.
      optimizers: by the names of the networks in a TrainState.
      schedule: of the main network's learning rate.
      ema_decay: of the averages; 0: none is kept.
      seed: of the order of the data.
      flip: mirror real images at random.

    Class attributes:
      settings_type: of `settings`.
      family, default_network: of networks (models/registry.py) that it trains.
      network_name: of the main network in a TrainState.
      sections: further sections of its config.
      default_optimizers: sections of optimisers, the main one as `optimizer`.
      defaults: values by dotted key that differ from the sections' own.
      replaceable: networks that a run may start afresh where a checkpoint lacks them, and that are
        left out where they are not used.
      streams: whether it trains on data that are read as they are trained on.
      best_score: the name of the score, as `val_<name>`, whose largest value marks the best
        checkpoint; None where there is none.
    """

    settings: Any
    facts: DataFacts
    network: nn.Module
    optimizers: Mapping[str, optax.GradientTransformation]
    schedule: optax.Schedule
    ema_decay: float
    seed: int
    flip: bool

    settings_type: ClassVar[type[MethodSettings]]
    family: ClassVar[str]
    default_network: ClassVar[str]
    network_name: ClassVar[str]
    sections: ClassVar[Mapping[str, Any]] = {}
    default_optimizers: ClassVar[Mapping[str, Any]] = {"optimizer": optimizers.AdamW()}
    defaults: ClassVar[Mapping[str, Any]] = {}
    replaceable: ClassVar[tuple[str, ...]] = ()
    streams: ClassVar[bool] = False
    best_score: ClassVar[str | None] = None

    @classmethod
    def from_config(
        cls, config: Any, facts: DataFacts, frozen: Mapping[str, Encoder] | None = None
    ) -> "Method":
        """Builds the method.

        Args:
          frozen: the networks that `settings.networks` names; a run that is only sampled can do
            without.

        Raises:
          ConfigError, DataError: a value of the config cannot be; the key is named.
        """
        settings = cls.read_settings(config, facts)
        total = durations.to_steps(
            config.train, "total", settings.images_per_step, facts.num_samples
        )
        optimizer, schedule = optimizers.make_optimizer(config.optimizer, total)
        return cls(
            settings=settings,
            facts=facts,
            network=cls.make_network(config, facts, settings),
            optimizers={cls.network_name: optimizer},
            schedule=schedule,
            ema_decay=config.ema_decay,
            seed=config.seed,
            flip=config.data.flip,
            **cls.extra_fields(config, settings, facts, frozen or {}),
        )

    @classmethod
    def extra_fields(
        cls, config: Any, settings: Any, facts: DataFacts, frozen: Mapping[str, Encoder]
    ) -> dict[str, Any]:
        """Values of the fields that a method adds to those of this class."""
        del config, settings, facts, frozen
        return {}

    @classmethod
    def read_settings(cls, config: Any, facts: DataFacts) -> Any:
        """config.method, checked against the data."""
        settings = config_lib.typed(cls.settings_type, config.method, "method").completed(facts)
        if facts.streamed and not cls.streams:
            raise ConfigError(
                f"method {config.method.name!r} does not train on a stream; set "
                "config.data.streaming=False"
            )
        if config.data.flip and not facts.space.mirrors:
            raise ConfigError(
                f"config.data.flip mirrors images; {facts.space.noun} have no left and right"
            )
        settings.check(facts)
        return settings

    @classmethod
    def make_network(cls, config: Any, facts: DataFacts, settings: Any) -> nn.Module:
        """The network of config.model; ConfigError where it is not of this method's family."""
        name = one_of("model.name", config.model.name, registry.names(cls.family))
        values = {key: value for key, value in config.model.items() if key != "name"}
        network = registry.create(
            name, values, facts.space.shape, settings.num_labels(facts),
            jnp.dtype(config.precision),
        )  # fmt: skip
        registry.require(name, network, settings.needs)
        return network

    @property
    def space(self) -> spaces.Space:
        return self.facts.space

    @property
    def num_classes(self) -> int:
        return self.facts.num_classes

    @property
    def images_per_step(self) -> int:
        """Real images that a step sees; an epoch is counted in these."""
        return self.settings.images_per_step

    @property
    def batch_size(self) -> int:
        """Rows that go through the network in a step."""
        return self.settings.batch_size

    @property
    def parts(self) -> tuple[int, ...]:
        """Rows of each part of a batch that devices divide apart."""
        return (self.batch_size,)

    @property
    def stream_batch(self) -> int:
        """Rows of a streamed batch."""
        return self.batch_size

    @property
    def decays(self) -> dict[str, float]:
        """Of the averages, by the networks that have one."""
        return {self.network_name: self.ema_decay}

    @abc.abstractmethod
    def init(self, key: jax.Array) -> TrainState:
        """A fresh state at step 0."""

    @abc.abstractmethod
    def train_step(
        self, state: TrainState, data: Data, key: jax.Array, frozen: Mapping[str, Any]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One step and its metrics, scalars, `loss` and `grad_norm` among them.

        Args:
          data: a resident set, or a batch of a stream where the method `streams`.
          key: this step's own, fold_in(base_key, step).
          frozen: parameters by name of networks that are not trained; arguments, so never
            constants of the trace.
        """

    @abc.abstractmethod
    def summaries(
        self, state: TrainState, key: jax.Array, data: Data, frozen: Mapping[str, Any]
    ) -> dict[str, Grid | Scatter]:
        """Pictures worth a look, by name."""

    def diagnostics(self, state: TrainState, key: jax.Array, data: Data) -> dict[str, jax.Array]:
        """Scalars that say how a run goes and cost too much for every step."""
        del state, key, data
        return {}


class Generator(Method):
    """Makes samples of labels from noise."""

    @abc.abstractmethod
    def sample(
        self,
        state: TrainState,
        key: jax.Array,
        labels: jax.Array,
        cfg_scale: float = 1.0,
        ema: bool = True,
    ) -> jax.Array:
        """A sample [B, *space.shape] of each of `labels` [B], as models see them."""

    @abc.abstractmethod
    def nfe(self, cfg_scale: float) -> int:
        """Network evaluations a sample."""

    @property
    def sampler_name(self) -> str:
        """How samples are drawn; "" of a method that has one way only."""
        return ""

    def with_sampler(self, sampler: str | None, steps: int | None) -> "Generator":
        """The same method, sampling in another way; None is as it was.

        Raises:
          ConfigError: it has one way only, or not this one.
        """
        if sampler is None and steps is None:
            return self
        raise ConfigError(
            "this method samples in one way only; leave out --sampler and --sampling_steps"
        )


class FlowGenerator(Generator):
    """Makes samples along a path from noise that can be looked at."""

    @abc.abstractmethod
    def trajectory(
        self,
        state: TrainState,
        z: jax.Array,
        labels: jax.Array,
        cfg_scale: float = 1.0,
        ema: bool = True,
    ) -> tuple[jax.Array, jax.Array]:
        """From noise z [B, ...] to samples, and all states on the way, [steps + 1, B, ...]."""


class Scored(Method):
    """Can be scored on held-out images."""

    @abc.abstractmethod
    def tally(
        self,
        state: TrainState,
        images: jax.Array,
        labels: jax.Array,
        weight: jax.Array,
        key: jax.Array,
    ) -> dict[str, jax.Array]:
        """Sums over a batch of images [B, H, W, C] in [-1, 1], by the averaged weights.

        Args:
          weight: [B], 0 for padding.
        """

    @abc.abstractmethod
    def scores(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Scores by name, from the sums over all batches."""


class FeatureEncoder(Method):
    """Its network serves as an encoder when it is trained."""

    @abc.abstractmethod
    def encoder(self, state: TrainState) -> Any:
        """All that `encode` needs of a state."""

    @abc.abstractmethod
    def encode(self, parameters: Any, images: jax.Array) -> Activations:
        """Activations for images [B, H, W, C] in [-1, 1]."""


class Translator(Method):
    """Makes images of one kind into images of another."""

    @abc.abstractmethod
    def translate(self, state: TrainState, images: jax.Array, ema: bool = True) -> jax.Array:
        """Images [B, H, W, C] in [-1, 1] of the target, from those of the source."""


class Autoencoder(Method):
    """Compresses images to latents and back."""

    @abc.abstractmethod
    def autoencoder(self, state: TrainState) -> Any:
        """All that `moments` and `decode` need of a state."""

    @abc.abstractmethod
    def moments(self, parameters: Any, images: jax.Array) -> jax.Array:
        """Mean and log-variance of each image's latents, [B, h, w, 2c]."""

    @abc.abstractmethod
    def decode(self, parameters: Any, latents: jax.Array) -> jax.Array:
        """Images [B, H, W, C] about in [-1, 1] of latents [B, h, w, c]."""

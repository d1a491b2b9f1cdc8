"""What a training method is: small base classes, by which the other packages know it.

A method is a frozen dataclass made from its config, with pure functions of states. Its base classes
say what it can do besides training: generate (`Generator`), encode (`FeatureEncoder`), be scored on
held-out images (`Scored`), translate (`Translator`), compress (`Autoencoder`).

A new method is a file or a folder in drifting/methods, a line in drifting/methods/__init__.py and a
config.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from drifting.core import config as config_lib
from drifting.core import durations, gaussian, optimizers
from drifting.core.errors import ConfigError, one_of
from drifting.core.facts import DataFacts
from drifting.core.networks import Decoder, Encoder
from drifting.core.state import TrainState, WarmedUp
from input_pipeline import space as spaces
from input_pipeline.data import Data
from models import registry
from models.activations import Activations

# --- what a method shows -------------------------------------------------------------------------


class Grid(NamedTuple):
    """Images in [-1, 1], [rows, columns, H, W, C]."""

    images: jax.Array


class Scatter(NamedTuple):
    """Generated points [N, 2], and the data [M, 2] that they should resemble."""

    points: jax.Array
    data: jax.Array


class BestScore(NamedTuple):
    """The score that marks the best checkpoint of a run (drifting/runs/best.py).

    Attributes:
      name: `val_<name>`, which is saved with each checkpoint; or a column of evaluations.
      largest: whether its largest value is the best, rather than its smallest.
      evaluated: whether evaluations measure it, once the checkpoint is saved.
    """

    name: str
    largest: bool
    evaluated: bool = False


# --- methods -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class MethodSettings:
    """The keys of config.method except `name`; each method derives a dataclass from this."""

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError or DataError for values that are invalid with these data."""

    def completed(self, facts: DataFacts) -> "MethodSettings":
        """These settings, with the keys that were left to the data filled in."""
        del facts
        return self

    @property
    def images_per_step(self) -> int:
        """Real images seen per step; epochs are counted in these."""
        raise NotImplementedError

    @property
    def networks(self) -> dict[str, str]:
        """The networks of `frozen`: where to load each one from, by name."""
        return {}

    @property
    def needs(self) -> dict[str, str]:
        """The fields of a Condition that the network must read, and the keys that require them."""
        return {}

    def num_labels(self, facts: DataFacts) -> int:
        """Number of classes that the network is conditioned on, without the null class."""
        return facts.num_classes


@dataclasses.dataclass(frozen=True, eq=False)
class Method(abc.ABC):
    """A training method, made by `from_config`.

    Attributes:
      settings: config.method.
      facts: about the data.
      network: the network that is trained, or the main one.
      optimizers: by the names of the networks in a TrainState.
      schedule: the learning rate of the main network.
      ema_decay: of the averages; 0: no averages.
      seed: of the order of the data.
      flip: mirror real images at random; not set for latents, whose mirror images the data hold.
      ema_warmup: smaller decays at first, see `state.WarmedUp`.

    Class attributes:
      settings_type: the class of `settings`.
      family: the family of networks that it trains (models/registry.py).
      default_network: the one that its configs start with.
      network_name: of the main network in a TrainState.
      sections: further sections of its config.
      default_optimizers: the optimiser sections; that of the main network is `optimizer`.
      defaults: values by dotted key that differ from the sections' own.
      replaceable: networks that a run may initialise anew where a checkpoint lacks them, and that
        are not restored where they are not used.
      plotted: metrics whose values at every step are plotted during training.
      terms: metrics in the order in which a step computes them, as far as a run has them; training
        stops at the first step in which one is not finite, and names the first such one.
      large_maps: whether CPUs need the settings for large maps (training/backend.py).
      streams: whether it can train on streamed data.
      best_score: what marks the best checkpoint; None if the newest is the best.
    """

    settings: Any
    facts: DataFacts
    network: nn.Module
    optimizers: Mapping[str, optax.GradientTransformation]
    schedule: optax.Schedule
    ema_decay: float
    seed: int
    flip: bool
    ema_warmup: bool = dataclasses.field(default=False, kw_only=True)

    settings_type: ClassVar[type[MethodSettings]]
    family: ClassVar[str]
    default_network: ClassVar[str]
    network_name: ClassVar[str]
    sections: ClassVar[Mapping[str, Any]] = {}
    default_optimizers: ClassVar[Mapping[str, Any]] = {"optimizer": optimizers.AdamW()}
    defaults: ClassVar[Mapping[str, Any]] = {}
    replaceable: ClassVar[tuple[str, ...]] = ()
    plotted: ClassVar[tuple[str, ...]] = ("loss",)
    terms: ClassVar[tuple[str, ...]] = ("loss", "grad_norm")
    large_maps: ClassVar[bool] = False
    streams: ClassVar[bool] = False
    best_score: ClassVar[BestScore | None] = None

    @classmethod
    def from_config(
        cls, config: Any, facts: DataFacts, frozen: Mapping[str, Encoder | Decoder] | None = None
    ) -> "Method":
        """Builds the method.

        Args:
          frozen: the networks that `settings.networks` names; not needed for sampling.

        Raises:
          ConfigError, DataError: a value of the config is invalid; the message names the key.
        """
        del frozen  # for methods that use them
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
            flip=config.data.flip and facts.space.reverses,
            ema_warmup=config.ema_warmup,
        )

    @classmethod
    def read_settings(cls, config: Any, facts: DataFacts) -> Any:
        """The settings of config.method, checked against the data."""
        settings = config_lib.typed(cls.settings_type, config.method, "method").completed(facts)
        if facts.streamed and not cls.streams:
            raise ConfigError(
                f"method {config.method.name!r} cannot train on streamed data; set "
                "config.data.streaming=False"
            )
        if config.data.flip and not facts.space.mirrors:
            raise ConfigError(
                f"config.data.flip mirrors images, but {facts.space.noun} have no left and right; "
                "set config.data.flip=False"
            )
        settings.check(facts)
        return settings

    @classmethod
    def make_network(cls, config: Any, facts: DataFacts, settings: Any) -> nn.Module:
        """The network of config.model; ConfigError if it is not of this method's family."""
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
        """Real images seen per step; epochs are counted in these."""
        return self.settings.images_per_step

    @property
    def batch_size(self) -> int:
        """Rows that pass through the network per step."""
        return self.settings.batch_size

    @property
    def parts(self) -> tuple[int, ...]:
        """Rows of each part of a batch; the devices share each part evenly."""
        return (self.batch_size,)

    @property
    def stream_batch(self) -> int:
        """Rows per streamed batch."""
        return self.batch_size

    @property
    def decays(self) -> dict[str, float]:
        """Decays of the averages, by network."""
        decay = WarmedUp(self.ema_decay) if self.ema_warmup else self.ema_decay
        return {self.network_name: decay}

    @abc.abstractmethod
    def init(self, key: jax.Array) -> TrainState:
        """A fresh state at step 0."""

    @abc.abstractmethod
    def train_step(
        self, state: TrainState, data: Data, key: jax.Array, frozen: Mapping[str, Any]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One step and its metrics: scalars, among them `loss` and `grad_norm`.

        Args:
          data: a resident data set or, where the method `streams`, a streamed batch.
          key: of this step alone, fold_in(base_key, step).
          frozen: the parameters of networks that are not trained, by name; arguments, so that they
            are not constants of the trace.
        """

    @abc.abstractmethod
    def summaries(
        self, state: TrainState, key: jax.Array, data: Data, frozen: Mapping[str, Any]
    ) -> dict[str, Grid | Scatter]:
        """Pictures that show how training goes, by name."""

    def diagnostics(self, state: TrainState, key: jax.Array, data: Data) -> dict[str, jax.Array]:
        """Scalars that show how training goes but are too costly for every step."""
        del state, key, data
        return {}


class Generator(Method):
    """Makes samples of given labels from noise."""

    @abc.abstractmethod
    def sample(
        self,
        state: TrainState,
        key: jax.Array,
        labels: jax.Array,
        cfg_scale: float = 1.0,
        ema: bool = True,
    ) -> jax.Array:
        """One sample for each of `labels` [B], in the range that models see, [B, *space.shape]."""

    @abc.abstractmethod
    def nfe(self, cfg_scale: float) -> int:
        """Network evaluations per sample."""

    @property
    def sampler_name(self) -> str:
        """How samples are drawn; "" if the method has only one way."""
        return ""

    def with_sampler(self, sampler: str | None, steps: int | None) -> "Generator":
        """The same method with another sampler; None leaves the sampler or the steps as they are.

        Raises:
          ConfigError: the method has only one sampler, or not this one.
        """
        if sampler is None and steps is None:
            return self
        raise ConfigError(
            "this method has only one sampler; leave out --sampler and --sampling_steps"
        )


class FlowGenerator(Generator):
    """Makes samples along paths from noise, whose states can be returned."""

    @abc.abstractmethod
    def trajectory(
        self,
        state: TrainState,
        z: jax.Array,
        labels: jax.Array,
        cfg_scale: float = 1.0,
        ema: bool = True,
    ) -> tuple[jax.Array, jax.Array]:
        """The samples from noise z [B, ...], and all states on the path, [steps + 1, B, ...]."""


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
        """Sums over a batch of images [B, H, W, C] in [-1, 1], computed with the averaged weights.

        Args:
          weight: [B], 0 for padding.
        """

    @abc.abstractmethod
    def scores(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Scores by name, from the sums over all batches."""


class FeatureEncoder(Method):
    """Trains a network that serves as an encoder afterwards."""

    @abc.abstractmethod
    def encoder(self, state: TrainState) -> Any:
        """The parameters that `encode` needs, from a state."""

    @abc.abstractmethod
    def encode(self, parameters: Any, images: jax.Array) -> Activations:
        """Activations for images [B, H, W, C] in [-1, 1]."""


SOURCE, TARGET = 0, 1  # the labels of a translator's domains


class Translator(Method):
    """Translates images of one domain into another.

    The data have two classes: label SOURCE is translated to what TARGET has examples of. Of the
    scores of its checkpoints, MiFID counts in place of `best_score` on Inception features.
    """

    best_score: ClassVar[BestScore | None] = BestScore(
        "frechet_distance", largest=False, evaluated=True
    )

    @abc.abstractmethod
    def translate(self, state: TrainState, images: jax.Array, ema: bool = True) -> jax.Array:
        """Images [B, H, W, C] in [-1, 1] of the target domain, from those of the source domain."""


class Autoencoder(Method):
    """Compresses images to latents and back."""

    @abc.abstractmethod
    def autoencoder(self, state: TrainState, ema: bool = True) -> Any:
        """The parameters that `moments` and `decode` need, from a state."""

    @abc.abstractmethod
    def moments(self, parameters: Any, images: jax.Array) -> jax.Array:
        """Mean and log-variance of the latents of each image, [B, h, w, 2c]."""

    @abc.abstractmethod
    def decode(self, parameters: Any, latents: jax.Array) -> jax.Array:
        """Images [B, H, W, C], approximately in [-1, 1], of latents [B, h, w, c]."""

    def reconstruct(self, parameters: Any, images: jax.Array) -> jax.Array:
        """Images [B, H, W, C] decoded from the means of their latents."""
        return self.decode(parameters, gaussian.split(self.moments(parameters, images))[0])

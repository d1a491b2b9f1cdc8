"""From a config or a workdir to the objects that everything else works on: data, methods, runs."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from drifting import methods
from drifting.core import config as config_lib
from drifting.core.errors import UserError
from drifting.pretrained import encoder as encoders
from drifting.training import checkpoints, sharding
from input_pipeline import sources, splits
from input_pipeline.sources import ImageSet, Stream

log = logging.getLogger(__name__)

STREAM_HEAD = 2048  # records that stand for all of a stream


class WorkdirError(UserError):
    """A workdir that cannot be written or understood."""


def load_images(config: Any, split: str) -> ImageSet:
    """The split of config.data.source in the config's shape."""
    data = config.data
    return sources.load(
        data.source,
        split,
        image_size=data.image_size,
        channels=data.channels,
        fit=data.fit,
        on_corrupt=data.on_corrupt,
    )


def open_stream(config: Any) -> Stream:
    """config.data.source read as it is trained on."""
    data = config.data
    if data.num_val:
        raise config_lib.ConfigError(
            f"config.data.num_val = {data.num_val}, but no part of a stream is kept out of "
            "training: set config.data.num_val=0, or config.data.streaming=False"
        )
    return sources.open_stream(
        data.source,
        data.split,
        image_size=data.image_size,
        channels=data.channels,
        fit=data.fit,
        on_corrupt=data.on_corrupt,
        latent_scale=data.latent_scale,
        seed=config.seed,
        threads=data.read_threads,
    )


def facts_of(data: ImageSet | Stream) -> methods.DataFacts:
    """What a method must know of the data that it is trained on.

    Mean and deviation of a stream are those of its first 2,048 records in stored order.
    """
    seen = data.head(STREAM_HEAD) if isinstance(data, Stream) else data
    mean, std = splits.channel_statistics(seen)
    return methods.DataFacts(
        image_shape=seen.images.shape[1:],
        num_classes=data.num_classes,
        num_images=len(data),
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
    )


def make_method(config: Any, facts: methods.DataFacts) -> tuple[Any, Any]:
    """The config's method with its encoder, and the encoder's parameters (None without one)."""
    encoder = config.method.get("encoder")
    if not encoder:
        return methods.create(config, facts), None
    loaded = encoders.load(encoder, facts.image_shape, config.precision)
    features = encoders.features(
        loaded, config.method.encoder_features, config.method.encoder_every_block
    )
    log.info("features of the encoder %s (%s)", encoder, loaded.identity)
    given = {"features": features, "feature_params": loaded.parameters}
    return methods.create(config, facts, **given), loaded.parameters


def images_to_score(config: Any) -> ImageSet:
    """All of the training split, also where it was streamed: the host's memory holds it."""
    if config.data.source.startswith("latents:"):
        raise WorkdirError(
            f"the run was trained on {config.data.source}: sampling and scoring latents needs the "
            "autoencoder's decoder, which cannot be given yet; train on images to score them"
        )
    return load_images(config, config.data.split)


@dataclasses.dataclass
class Sampled:
    """What scoring and sampling need of a run, beside its states (scoring.Scorable).

    Attributes:
      images: of the training split.
    """

    workdir: pathlib.Path
    config: Any
    method: Any
    images: ImageSet

    def steps(self) -> list[int]:
        """Steps of the finished checkpoints, read anew."""
        return checkpoints.valid_steps(self.workdir / "checkpoints")

    def sampler(self, cfg_scale: float, ema: bool) -> Callable:
        """(state, key, labels) -> images, for a SampleProgram."""

        def generate(state, key, labels):
            return self.method.sample(state, key, labels, cfg_scale, ema)

        return generate

    def use_sampler(self, name: str | None, steps: int | None) -> None:
        """Samples in another way than the config's; None is as it is.

        Raises:
          WorkdirError, ConfigError: the method has one way only, or not this one.
        """
        if name is None and steps is None:
            return
        if not hasattr(self.method, "with_sampler"):
            raise WorkdirError(
                f"method {self.config.method.name!r} samples in one way only; leave out --sampler "
                "and --sampling_steps"
            )
        self.method = self.method.with_sampler(name, steps)

    @property
    def sampler_name(self) -> str:
        """How samples are drawn; "" of a method that has one way only."""
        return getattr(self.method, "sampler_name", "")

    def nfe(self, cfg_scale: float) -> int:
        """Network evaluations a sample."""
        return self.method.nfe(cfg_scale)

    def require_generator(self) -> None:
        """Raises WorkdirError for a run of a method that has nothing to sample."""
        if not hasattr(self.method, "sample"):
            raise WorkdirError(
                f"{self.workdir} is a run of method {self.config.method.name!r}, which generates "
                "no images; its scores are in test.json"
            )

    def batch_sharding(self, batch_size: int) -> jax.sharding.NamedSharding:
        """How a batch of samples is spread over the devices."""
        return sharding.batch_sharding(batch_size)


@dataclasses.dataclass
class InTraining(Sampled):
    """A run that is being trained: its one state is the loop's own, given before each score.

    Attributes:
      mesh: the loop's; a program has one mesh.
    """

    mesh: jax.sharding.Mesh

    def batch_sharding(self, batch_size: int) -> jax.sharding.NamedSharding:
        return sharding.batch_over(self.mesh, batch_size)

    def hold(self, state: Any, metrics: dict[str, float]) -> None:
        self._held = state, metrics

    def restore(self, step: int) -> tuple[Any, dict[str, float]]:
        del step
        return self._held


class Run(Sampled):
    """A trained run, opened read-only.

    Args:
      whole: as in training, with what sampling can do without: the encoder, whose parameters are
        in `frozen`, and the learned field.

    Raises:
      UserError: the workdir is not that of a run.
    """

    def __init__(self, workdir: str | pathlib.Path, whole: bool = False):
        workdir = pathlib.Path(workdir)
        config = config_lib.read(workdir / "config.json")
        if not checkpoints.valid_steps(workdir / "checkpoints"):
            raise WorkdirError(
                f"{workdir} has no finished checkpoint yet; train it further with "
                "`python train.py`"
            )
        images = images_to_score(config)
        facts = encoders.read_facts(workdir)
        self.frozen = None
        if whole:
            method, self.frozen = make_method(config, facts)
        else:
            method = methods.create(config, facts)
        super().__init__(workdir, config, method, images)
        self._left_out = () if whole else getattr(self.method, "replaceable", ())
        folder = self.workdir / "checkpoints"
        self._checkpoints = checkpoints.Checkpoints(folder, read_only=True)
        where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        self._shapes = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where),
            jax.eval_shape(self.method.init, jax.random.key(0)),
        )

    def best_step(self) -> int:
        """The step with the best held-out score; the last one where nothing was scored."""
        best = None
        if self.method.best_score:
            best = checkpoints.best_step(self.workdir / "checkpoints", self.method.best_score)
        return self.steps()[-1] if best is None else best

    def restore(self, step: int) -> tuple[Any, dict[str, float]]:
        """The state at `step` on one device, and the metrics saved beside it."""
        return self._checkpoints.restore(step, self._shapes, self._left_out)

    def restore_last(self) -> tuple[Any, int]:
        """The newest usable state and its step; a damaged newer one is named and passed over."""
        for step in reversed(self.steps()):
            try:
                return self.restore(step)[0], step
            except checkpoints.CheckpointError as error:
                log.warning("%s; trying the one before", error)
        raise WorkdirError(f"no checkpoint in {self.workdir} can be used")

"""What scoring and sampling need of a run: a trained one (workdir.py), or one in training."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax

from drifting.core.errors import ConfigError
from drifting.core.facts import DataFacts
from drifting.core.method import Autoencoder, Generator, Method, Translator
from drifting.core.networks import Decoder
from drifting.core.state import TrainState
from drifting.evaluation import generation
from drifting.runs.folder import WorkdirError
from drifting.training import checkpoints, mesh
from drifting.training.parts import Parts
from input_pipeline.space import Latents, Pixels, Space


class Sampled:
    """What scoring and sampling need of a run, except its states (scorer.Scorable)."""

    data_fingerprint: str | None = None  # of the training split; None if it is not known
    decoder: Decoder | None = None  # of the latents that the method generates

    def __init__(self, workdir: pathlib.Path, config: Any, method: Method):
        self.workdir, self.config, self.method = workdir, config, method

    @property
    def facts(self) -> DataFacts:
        return self.method.facts

    @property
    def space(self) -> Space:
        """The space of what the method generates, which decodes latents."""
        return self.decoder.space if self.decoder else self.facts.space

    @property
    def decoder_parameters(self) -> dict[str, Any]:
        """The parameters of the networks that `space` needs to make pictures, by name."""
        return {"autoencoder": self.decoder.parameters} if self.decoder else {}

    def steps(self) -> list[int]:
        """Steps of the finished checkpoints that are now in the folder."""
        return checkpoints.valid_steps(self.workdir / "checkpoints")

    def sampler(self, cfg_scale: float, ema: bool) -> Callable:
        """The function (state, key, labels) -> samples as the method generates them.

        That of a run `of_images` is (state, key, stored images) -> what is made of them.

        Raises:
          ConfigError: an autoencoder or a translator is to use guidance.
        """
        if self.of_images:
            return self._conversion(cfg_scale, ema)

        def generate(state, key, labels):
            return self.method.sample(state, key, labels, cfg_scale, ema)

        return generate

    def _conversion(self, cfg_scale: float, ema: bool) -> Callable:
        if cfg_scale != 1.0:
            raise ConfigError(
                f"{self._kind} has no guidance, so cfg_scale must be 1 (config.eval.cfg_scale, "
                "--cfg_scale)"
            )

        def convert(state, key, images):
            del key
            images = self.facts.space.to_model(images)
            if self.translates:
                return self.method.translate(state, images, ema)
            return self.method.reconstruct(self.method.autoencoder(state, ema), images)

        return convert

    @property
    def translates(self) -> bool:
        return isinstance(self.method, Translator)

    @property
    def of_images(self) -> bool:
        """Whether scores are of reconstructions or translations of images, not of labels."""
        return isinstance(self.method, Autoencoder | Translator)

    @property
    def _kind(self) -> str:
        return "a translator" if self.translates else "an autoencoder"

    def program(
        self, cfg_scale: float, ema: bool, sharding: jax.sharding.NamedSharding | None = None
    ) -> generation.SampleProgram:
        """The program that generates samples, decodes latents and rounds to 8 bits."""
        generate = self.sampler(cfg_scale, ema)
        return generation.SampleProgram(
            generate, self.space, sharding, self.decoder_parameters, self.of_images
        )

    def use_sampler(self, name: str | None, steps: int | None) -> None:
        """Replaces the config's sampler or steps; ConfigError if the method cannot."""
        if self.of_images:
            if name is not None or steps is not None:
                raise ConfigError(f"{self._kind} has no --sampler and no --sampling_steps")
            return
        self.method = self.method.with_sampler(name, steps)

    @property
    def sampler_name(self) -> str:
        """How samples are drawn; "" if the generator has only one way."""
        if self.of_images:
            return "translation" if self.translates else "reconstruction"
        return self.method.sampler_name

    def nfe(self, cfg_scale: float) -> int:
        """Network evaluations per sample."""
        return 1 if self.of_images else self.method.nfe(cfg_scale)

    def require_scorable(self) -> None:
        """Raises WorkdirError for a run that makes neither samples nor images of images."""
        if not self.of_images:
            self.require_generator()
        elif not isinstance(self.facts.space, Pixels):
            makes = "translates" if self.translates else "reconstructs"
            raise WorkdirError(
                f"{self.workdir} {makes} {self.facts.space.noun}, not images, so it has no scores "
                "of images"
            )

    def require_generator(self) -> None:
        """Raises WorkdirError for a run that cannot make samples that people can look at."""
        if self.translates:
            raise WorkdirError(
                f"{self.workdir} is a run of method {self.config.method.name!r}, which translates "
                "images: give it a folder of them, `python sample.py --workdir ... --translate "
                "<folder> --out <folder>`"
            )
        if not isinstance(self.method, Generator):
            raise WorkdirError(
                f"{self.workdir} is a run of method {self.config.method.name!r}, which generates "
                "no images; its scores are in test.json"
            )
        if isinstance(self.facts.space, Latents) and self.decoder is None:
            raise WorkdirError(
                f"{self.workdir} generates latents of {self.facts.source}, which no autoencoder "
                "decodes: run its `python train.py` command (again) with "
                "--config.data.autoencoder=<workdir of the autoencoder>"
            )

    def require_translator(self) -> None:
        """Raises WorkdirError for a run that does not translate images."""
        if not self.translates:
            raise WorkdirError(
                f"{self.workdir} is a run of method {self.config.method.name!r}, which translates "
                "no images; name the workdir of a run that does, such as one of method 'cut'"
            )

    def batch_sharding(self, batch_size: int) -> jax.sharding.NamedSharding:
        """How a batch of samples is sharded over the devices."""
        return mesh.batch_sharding(batch_size)


class InTraining(Sampled):
    """A run that is being trained; the loop gives it the state to score with `hold`."""

    def __init__(self, workdir: pathlib.Path, parts: Parts):
        super().__init__(workdir, parts.config, parts.method)
        self.decoder = parts.frozen.get("autoencoder")
        self._mesh = parts.mesh  # a program cannot mix meshes

    def batch_sharding(self, batch_size: int) -> jax.sharding.NamedSharding:
        return mesh.batch_over(self._mesh, batch_size)

    def hold(self, state: TrainState, metrics: dict[str, float]) -> None:
        self._held = state, metrics

    def restore(self, step: int) -> tuple[TrainState, dict[str, float]]:
        del step
        return self._held

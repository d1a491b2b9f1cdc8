"""The keys of config.method, and their checks."""

import dataclasses

from drifting.core.errors import ConfigError, one_of
from drifting.core.facts import DataFacts
from drifting.methods.autoencoder import losses
from drifting.methods.batches import BatchSettings


@dataclasses.dataclass(frozen=True)
class Settings(BatchSettings):
    """The keys of config.method."""

    batch_size: int = 64  # images per step
    loss: str = "l1"  # the error of a value: l1, its size; or l2, its square
    kl_weight: float = 1e-6  # of the Kullback-Leibler divergence of latents from N(0, 1)
    encoder: str = ""  # workdir of a classifier or masked autoencoder (or torch:<network>:<file>)
    perceptual_weight: float = 1.0  # of the distance in the encoder's features, where it is named
    # Share of the steps in which latents are turned by quarters and scaled down, and have to give
    # the equally transformed image (EQ-VAE, arXiv:2502.09509).
    equivariance_probability: float = 0.0

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError, naming the key, for a value out of range."""
        super().check(facts)
        one_of("method.loss", self.loss, losses.ERRORS)
        for key in ("kl_weight", "perceptual_weight"):
            if vars(self)[key] < 0.0:
                raise ConfigError(
                    f"config.method.{key} = {vars(self)[key]} is negative; set 0 or more"
                )
        share, (height, width) = self.equivariance_probability, facts.space.shape[:2]
        if not 0.0 <= share <= 1.0:
            raise ConfigError(f"config.method.equivariance_probability = {share} is not in [0, 1]")
        if share and (self.encoder or height != width):
            reason = "config.method.encoder is set" if self.encoder else "images are not square"
            raise ConfigError(
                f"config.method.equivariance_probability = {share}, but {reason}: transformed "
                "images would have shapes that differ from step to step; set it to 0.0"
            )

    @property
    def networks(self) -> dict[str, str]:
        return {"encoder": self.encoder} if self.encoder else {}

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

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError, naming the key, for a value out of range."""
        super().check(facts)
        one_of("method.loss", self.loss, losses.ERRORS)
        if self.kl_weight < 0.0:
            raise ConfigError(
                f"config.method.kl_weight = {self.kl_weight} is negative; set 0 or more"
            )

"""How a run's samples are scored: the keys of config.eval, and what only a call can ask for."""

import dataclasses

from drifting.core.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Settings:
    """The keys of config.eval."""

    num_samples: int = 50_000  # labels follow the reference's class frequencies
    batch_size: int = 256  # images through the generator and the features at once
    cfg_scale: float = 1.5  # guidance at sampling
    seed: int = 42  # of the samples, and of what metrics draw
    features: str = "inception"  # or pixels, or encoder:<workdir>
    fid_mode: str = "clean"  # or legacy_tensorflow, legacy_pytorch: how images are resized
    metrics: tuple[str, ...] = ("fid",)  # names of those in drifting/evaluation/metrics


@dataclasses.dataclass(frozen=True)
class ScoreSettings(Settings):
    """How to score; the same for all checkpoints of a call."""

    ema: bool = True  # averaged weights, or the raw ones
    save_samples: bool = False  # keep all samples as PNG files beside the preview
    cleanup_samples: bool = False  # remove those that an earlier call kept
    statistics: str | None = None  # a file to take the reference's moments from

    def check(self) -> None:
        """Raises ConfigError for values that cannot be, whatever is scored."""
        if self.num_samples < 2 or self.batch_size < 1:
            raise ConfigError(
                f"num_samples = {self.num_samples} and batch_size = {self.batch_size}: "
                "a score needs two samples or more"
            )
        if self.save_samples and self.cleanup_samples:
            raise ConfigError("--save_samples and --cleanup_samples exclude each other")

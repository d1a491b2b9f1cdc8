"""Settings of an evaluation: the keys of config.eval, and those of evaluate.py alone."""

import dataclasses
import math

from drifting.core.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Settings:
    """The keys of config.eval."""

    num_samples: int = 50_000  # with the class frequencies of the reference
    batch_size: int = 256  # images per call of the generator and the feature function
    cfg_scale: float = 1.5  # guidance at sampling
    seed: int = 42  # of the samples, and of random choices of metrics
    features: str = "inception"  # or pixels, or encoder:<workdir>
    fid_mode: str = "clean"  # how images are resized; or legacy_tensorflow, legacy_pytorch
    metrics: tuple[str, ...] = ("fid",)  # names declared in drifting/evaluation/metrics

    def check(self) -> None:
        """Raises ConfigError for values that are invalid for any data; it names the key."""
        for key, fits, wanted in (
            ("num_samples", self.num_samples >= 2, "a score needs two samples or more"),
            ("batch_size", self.batch_size >= 1, "must be 1 or more"),
            ("cfg_scale", math.isfinite(self.cfg_scale), "must be a finite number"),
            ("seed", 0 <= self.seed < 2**32, "must be at least 0 and less than 2^32"),
        ):
            if not fits:
                raise ConfigError(f"config.eval.{key} (--{key}) = {vars(self)[key]}: {wanted}")


@dataclasses.dataclass(frozen=True)
class ScoreSettings(Settings):
    """All settings of an evaluation; the same for all checkpoints of one call."""

    ema: bool = True  # score the averaged weights, or else the raw ones
    save_samples: bool = False  # keep all samples as PNG files next to the preview
    cleanup_samples: bool = False  # keep nothing of a score but its line in the record
    statistics: str | None = None  # a file to read the moments of the reference from

    def check(self) -> None:
        """Raises ConfigError for values that are invalid for any data; it names the key."""
        super().check()
        if self.save_samples and self.cleanup_samples:
            raise ConfigError(
                "--save_samples and --cleanup_samples exclude each other: give one of them"
            )

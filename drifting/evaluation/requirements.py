"""What cannot be scored is refused before anything is generated."""

import jax
import numpy as np

from drifting.core.errors import ConfigError, did_you_mean
from drifting.evaluation.features import FeatureFunction
from drifting.evaluation.measurement import METRICS, OF_IMAGES
from drifting.evaluation.metrics import inception_score, manifold
from drifting.evaluation.settings import ScoreSettings
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Pixels

LEAST_SAMPLES = {"is": inception_score.SPLITS, "prdc": manifold.NEIGHBOURS + 1}


def require_possible(settings: ScoreSettings) -> None:
    """Raises ConfigError for settings that cannot be, whatever is scored."""
    settings.check()
    for name in settings.metrics:
        if name not in METRICS:
            hint = did_you_mean(name, METRICS)
            raise ConfigError(f"unknown metric {name!r}, known: {', '.join(METRICS)}{hint}")


def require_measurable(
    settings: ScoreSettings, images: ImageSet, function: FeatureFunction
) -> None:
    """Raises ConfigError for settings that cannot be, or metrics that these data cannot have."""
    require_possible(settings)
    for name, least in LEAST_SAMPLES.items():
        if name in settings.metrics and settings.num_samples < least:
            raise ConfigError(
                f"--metrics {name} needs {least} samples or more, not {settings.num_samples}"
            )
    unfit = [name for name in settings.metrics if name in OF_IMAGES]
    if unfit and not isinstance(images.space, Pixels):
        fit = ", ".join(name for name in METRICS if name not in OF_IMAGES)
        raise ConfigError(
            f"--metrics {','.join(unfit)}: of images, and {images.source} holds "
            f"{images.space.noun}; these have {fit}"
        )
    if "is" in settings.metrics:
        require_logits(function, images.images[:1])


def require_logits(function: FeatureFunction, images: np.ndarray) -> None:
    """Raises ConfigError for the Inception Score without a classifier."""
    if jax.eval_shape(function.apply, images).logits is None:
        raise ConfigError(f"--metrics is needs a classifier's features; {function.name} are none")

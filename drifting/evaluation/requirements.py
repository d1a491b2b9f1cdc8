"""What cannot be scored is refused before anything is generated: of a run and of folders alike."""

import logging

import jax
import numpy as np

from drifting.core.errors import ConfigError, did_you_mean
from drifting.evaluation import metrics
from drifting.evaluation.features import FeatureFunction
from drifting.evaluation.metric import Metric, Need
from drifting.evaluation.settings import ScoreSettings
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Pixels, Space

log = logging.getLogger(__name__)


def require_possible(settings: ScoreSettings) -> None:
    """Raises ConfigError for settings that cannot be, whatever is scored."""
    settings.check()
    known = metrics.known()
    for name in settings.metrics:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConfigError(f"unknown metric {name!r}, known: {', '.join(known)}{hint}")


def require_measurable(
    settings: ScoreSettings, real: ImageSet, function: FeatureFunction, samples: Space, count: int
) -> None:
    """Refuses settings that cannot be, and metrics that these data and features cannot have.

    Args:
      real: what the samples are compared with.
      samples: what one sample is.
      count: how many there will be.

    Raises:
      ConfigError: the message says which metric, and why.
    """
    require_possible(settings)
    chosen = metrics.chosen(settings.metrics)
    for metric in chosen:
        if count < metric.least_samples:
            raise ConfigError(
                f"--metrics {metric.name} needs {metric.least_samples} samples or more, not {count}"
            )
    _require_kind(chosen, f"{real.source} holds", real.space)
    _require_kind(chosen, "the samples are", samples)
    _require_one_size(chosen, real.space, function, samples)
    for metric in chosen:
        if Need.LOGITS in metric.needs:
            _require_logits(metric, function, samples)
    if count <= function.dimension and Need.MOMENTS in metrics.needs(settings.metrics):
        log.warning(
            "%d samples for %d feature dimensions: the covariance is singular and the "
            "Frechet distance biased; compare it only with scores of as many samples",
            count,
            function.dimension,
        )


def _require_kind(chosen: list[Metric], whose: str, space: Space) -> None:
    unfit = [metric.name for metric in chosen if metric.of_images]
    if unfit and not isinstance(space, Pixels):
        fit = ", ".join(m.name for m in metrics.known().values() if not m.of_images)
        raise ConfigError(
            f"--metrics {','.join(unfit)}: of images, and {whose} {space.noun}; these have {fit}"
        )


def _require_one_size(
    chosen: list[Metric], real: Space, function: FeatureFunction, samples: Space
) -> None:
    if real == samples:
        return
    if not function.mode:  # nothing brings them to one size
        raise ConfigError(f"{function.name} of {real.shape} and {samples.shape} cannot be compared")
    unfit = [metric.name for metric in chosen if Need.IMAGES in metric.needs]
    if unfit:
        raise ConfigError(
            f"--metrics {','.join(unfit)}: compares pixels, and those of {real.shape} and "
            f"{samples.shape} cannot be compared"
        )


def _require_logits(metric: Metric, function: FeatureFunction, samples: Space) -> None:
    one = jax.ShapeDtypeStruct((1, *samples.shape), np.dtype(samples.dtype))
    if jax.eval_shape(function.apply, one).logits is None:
        raise ConfigError(
            f"--metrics {metric.name} needs a classifier's features; {function.name} are none"
        )

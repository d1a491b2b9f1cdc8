"""Checks before anything is generated or extracted, for runs and for pairs of folders alike."""

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


def check_settings(settings: ScoreSettings) -> None:
    """Raises ConfigError for settings that are invalid for any data."""
    settings.check()
    known = metrics.known()
    for name in settings.metrics:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConfigError(f"unknown metric {name!r}, known: {', '.join(known)}{hint}")


def check_metrics(
    settings: ScoreSettings,
    real: ImageSet,
    function: FeatureFunction,
    samples: Space,
    count: int,
    originals: bool = False,
) -> None:
    """Checks that every metric is defined for these data and features.

    Args:
      real: the reference that the samples are compared with.
      samples: the space of one sample.
      count: the number of samples.
      originals: whether they are reconstructions or translations of images.

    Raises:
      ConfigError: the settings are invalid, or a metric is not defined; the message names it.
    """
    check_settings(settings)
    chosen = metrics.chosen(settings.metrics)
    for metric in chosen:
        _require_count(metric, "samples", count, metric.least_samples)
        # A file of statistics stands in for the images of a metric of moments alone.
        if not (settings.statistics and metric.needs == Need.MOMENTS):
            _require_count(metric, "reference images", len(real), metric.least_reference)
    _require_kind(chosen, f"{real.source} holds", real.space)
    _require_kind(chosen, "the samples are", samples)
    _require_one_size(chosen, real.space, function, samples)
    for metric in chosen:
        if Need.ORIGINALS in metric.needs and not originals:
            raise ConfigError(
                f"--metrics {metric.name} compares reconstructions or translations with their "
                "originals, so it is of runs of an autoencoder or a translator alone: leave it out"
            )
        if Need.LOGITS in metric.needs:
            _require_logits(metric, function, samples)
    if count <= function.dimension and Need.MOMENTS in metrics.needs(settings.metrics):
        log.warning(
            "%d samples for %d feature dimensions: the covariance is singular and the "
            "Frechet distance biased; compare it only with scores of as many samples",
            count,
            function.dimension,
        )


def _require_count(metric: Metric, what: str, count: int, least: int) -> None:
    if count < least:
        raise ConfigError(
            f"--metrics {metric.name} needs at least {least} {what}, got {count}: "
            "add more, or leave this metric out"
        )


def _require_kind(chosen: list[Metric], whose: str, space: Space) -> None:
    unfit = [metric.name for metric in chosen if metric.of_images]
    if unfit and not isinstance(space, Pixels):
        fit = ", ".join(m.name for m in metrics.known().values() if not m.of_images)
        raise ConfigError(
            f"--metrics {','.join(unfit)}: defined for images only, and {whose} {space.noun}; "
            f"choose from {fit}"
        )


def _require_one_size(
    chosen: list[Metric], real: Space, function: FeatureFunction, samples: Space
) -> None:
    if real == samples:
        return
    if not function.mode:  # nothing brings them to one size
        raise ConfigError(
            f"features {function.name!r} of shapes {real.shape} and {samples.shape} cannot be "
            "compared: bring both sets to one size, or use --features inception"
        )
    unfit = [metric.name for metric in chosen if Need.IMAGES in metric.needs]
    if unfit:
        raise ConfigError(
            f"--metrics {','.join(unfit)}: compares pixels, which shapes {real.shape} and "
            f"{samples.shape} do not allow: bring both sets to one size, or leave it out"
        )


def _require_logits(metric: Metric, function: FeatureFunction, samples: Space) -> None:
    one = jax.ShapeDtypeStruct((1, *samples.shape), np.dtype(samples.dtype))
    if jax.eval_shape(function.apply, one).logits is None:
        raise ConfigError(
            f"--metrics {metric.name} needs the logits of a classifier, which features "
            f"{function.name!r} do not have: use --features inception"
        )

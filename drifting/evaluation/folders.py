"""Metrics of one set of images against another, without a run."""

import time
from typing import Any

import jax

from drifting.evaluation import extraction, metrics, ordering
from drifting.evaluation.checks import check_metrics
from drifting.evaluation.comparison import Comparison, Reference, samples_of
from drifting.evaluation.features import FeatureFunction
from drifting.evaluation.metric import Need
from drifting.evaluation.settings import ScoreSettings
from input_pipeline.image_set import ImageSet


def score_folders(
    real: ImageSet,
    fake: ImageSet,
    function: FeatureFunction,
    settings: ScoreSettings,
    sharding: jax.sharding.NamedSharding,
) -> dict[str, Any]:
    """The metrics of the images `fake` against the images `real`, by column.

    The order of the images has no influence.

    Raises:
      ConfigError: the settings are invalid, or a metric is not defined for these images or
        features.
    """
    check_metrics(settings, real, function, fake.space, len(fake))
    began = time.perf_counter()
    real, fake = _shuffled(real), _shuffled(fake)
    size = settings.batch_size
    reference = Reference(
        real, None, function, batch_size=size, heldout_count=0, sharding=sharding,
        statistics=settings.statistics,
    )  # fmt: skip
    extracted = extraction.extract_features(
        extraction.in_batches(fake.images, size),
        fake.space,
        function,
        total=len(fake),
        batch_size=size,
        keep_vectors=bool(metrics.needs(settings.metrics) & (Need.VECTORS | Need.LOGITS)),
        sharding=sharding,
        title=f"{function.name} of {fake.source}",
    )
    comparison = Comparison(reference, samples_of(extracted, fake.images, None), settings.seed)
    row = {"real": real.source, "fake": fake.source, "features": function.name,
           "fid_mode": function.mode, "num_real": len(real), "num_fake": len(fake)}  # fmt: skip
    if settings.statistics:
        row["statistics"] = settings.statistics
    row |= metrics.measure(settings.metrics, comparison)
    return row | {"eval_seconds": round(time.perf_counter() - began, 3)}


def _shuffled(images: ImageSet) -> ImageSet:
    rows = ordering.shuffled(images.images, seed=0)
    return images.take(rows)

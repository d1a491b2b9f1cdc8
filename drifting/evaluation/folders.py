"""One set of images against another, without a run."""

import time
from typing import Any

import jax

from drifting.evaluation import collect, metrics
from drifting.evaluation.features import FeatureFunction
from drifting.evaluation.measured import Measured, Reference, samples_of
from drifting.evaluation.metric import Need
from drifting.evaluation.requirements import require_measurable
from drifting.evaluation.settings import ScoreSettings
from input_pipeline.image_set import ImageSet


def score_folders(
    real: ImageSet,
    fake: ImageSet,
    function: FeatureFunction,
    settings: ScoreSettings,
    sharding: jax.sharding.NamedSharding,
) -> dict[str, Any]:
    """Every metric of one set of images against another, by column of the table.

    Raises:
      ConfigError: the settings cannot be met, by these images or by these features.
    """
    require_measurable(settings, real, function, fake.space, len(fake))
    began = time.perf_counter()
    size = settings.batch_size
    reference = Reference(real, None, function, batch_size=size, heldout_count=0, sharding=sharding)
    collected = collect.describe_images(
        collect.split(fake.images, size),
        fake.space,
        function,
        total=len(fake),
        batch_size=size,
        keep_vectors=bool(metrics.needs(settings.metrics) & (Need.VECTORS | Need.LOGITS)),
        sharding=sharding,
        what=f"{function.name} of {fake.source}",
    )
    measured = Measured(reference, samples_of(collected, fake.images, None), settings.seed)
    row = {"real": real.source, "fake": fake.source, "features": function.name,
           "fid_mode": function.mode, "num_real": len(real), "num_fake": len(fake)}  # fmt: skip
    row |= metrics.measure(settings.metrics, measured)
    return row | {"eval_seconds": round(time.perf_counter() - began, 3)}

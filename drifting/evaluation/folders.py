"""One set of images against another, without a run."""

import time
from typing import Any

import jax

from drifting.core.errors import ConfigError
from drifting.evaluation import collect
from drifting.evaluation.features import FeatureFunction
from drifting.evaluation.measurement import OF_VECTORS, Measurement, Reference
from drifting.evaluation.requirements import require_logits
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
      ConfigError: images of two sizes, and features that do not resize.
    """
    if not function.mode and real.space != fake.space:  # nothing brings them to one size
        raise ConfigError(
            f"{function.name} of {real.space.shape} and {fake.space.shape} cannot be compared"
        )
    began = time.perf_counter()
    if "is" in settings.metrics:
        require_logits(function, fake.images[:1])
    size = settings.batch_size
    reference = Reference(
        real, None, function, batch_size=size, heldout_count=0, sharding=sharding
    )
    collected = collect.describe_images(
        collect.split(fake.images, size),
        fake.space,
        function,
        total=len(fake),
        batch_size=size,
        keep_vectors=bool(OF_VECTORS & set(settings.metrics)),
        sharding=sharding,
        what=f"{function.name} of {fake.source}",
    )
    measurement = Measurement(reference, collected, fake.images, None, settings.seed)
    row = {"real": real.source, "fake": fake.source, "features": function.name,
           "fid_mode": function.mode, "num_real": len(real), "num_fake": len(fake)}  # fmt: skip
    for name in settings.metrics:
        row |= measurement.metric(name)
    return row | {"eval_seconds": round(time.perf_counter() - began, 3)}

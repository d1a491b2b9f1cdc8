"""Facts of data that are not there."""

from drifting.core.facts import DataFacts
from input_pipeline.space import Pixels


def make(space=Pixels((8, 8, 1)), num_classes=10, num_samples=1497, **changed):  # noqa: B008
    """By default those of the digits."""
    values = dict(
        space=space,
        class_names=tuple(map(str, range(num_classes))),
        class_counts=(num_samples // num_classes,) * num_classes,
        num_samples=num_samples,
        mean=(0.0,) * space.channels,
        std=(1.0,) * space.channels,
        source="made",
        streamed=False,
    )
    return DataFacts(**values | changed)

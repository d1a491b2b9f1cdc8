"""Facts about data sets that do not exist."""

from drifting.core.facts import DataFacts
from input_pipeline.space import Pixels


def make(space=Pixels((8, 8, 1)), num_classes=10, num_samples=1497, **changed):  # noqa: B008
    """The facts, by default those of the 8x8 digits."""
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

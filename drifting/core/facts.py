"""What is known of training data before any of it is seen."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from input_pipeline import space as spaces


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What a method must know of its training data before it sees any; kept in config.json.

    Attributes:
      space: what one sample is.
      class_names: one for each label.
      class_counts: samples of each class; None for a stream, which is not counted.
      num_samples: of the part that is trained on.
      mean, std: of each channel, over values as a model sees them.
      source: as it was asked for.
      streamed: read as it is trained on.
    """

    space: spaces.Space
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...] | None
    num_samples: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    streamed: bool

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"space": self.space.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DataFacts":
        """What `to_json` wrote; KeyError or TypeError where it is something else."""
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**values | {"space": spaces.from_json(values["space"])})

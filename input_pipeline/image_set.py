"""Labelled splits of sources on the host: what all of them answer, and those that are decoded."""

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import numpy as np

from input_pipeline.feed import Feed
from input_pipeline.resident import Resident
from input_pipeline.space import Space


class DataSet(abc.ABC):
    """A labelled split of a source, decoded (`ImageSet`) or streamed (`streaming.Stream`).

    Attributes:
      class_names: one for each label.
      source, split: as they were asked for.
      fingerprint: changes with the data and with how they are decoded.
      space: what one sample is.
      streamed: whether it is read as it is trained on.
    """

    class_names: tuple[str, ...]
    source: str
    split: str
    fingerprint: str
    space: Space
    streamed: ClassVar[bool]

    @abc.abstractmethod
    def __len__(self) -> int:
        """Samples of the split."""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    @abc.abstractmethod
    def class_counts(self) -> tuple[int, ...] | None:
        """Samples of each class; None where they are not known before all are read."""

    @abc.abstractmethod
    def representative(self) -> "ImageSet":
        """Decoded samples that stand for all."""

    @abc.abstractmethod
    def feed(
        self,
        placement: jax.sharding.Sharding,
        spread: Callable[[int], jax.sharding.Sharding],
        rows: int,
        first: int,
        stop: int,
    ) -> Feed:
        """How a training loop gets the data of steps `first` to `stop` - 1.

        Args:
          placement: of whole arrays.
          spread: rows -> how a batch of that many is spread over the devices.
          rows: of a streamed batch, all processes together.
        """


@dataclasses.dataclass(frozen=True)
class ImageSet(DataSet):
    """A split of a source, decoded.

    Attributes:
      images: stored values [N, *space.shape], whatever the space.
      labels: int32 [N].

    Raises:
      ValueError: the values are not of the space.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    source: str
    split: str
    fingerprint: str
    space: Space

    streamed = False

    def __post_init__(self):
        given = self.images.dtype, self.images.shape[1:]
        if given != (self.space.dtype, self.space.shape):
            raise ValueError(
                f"{self.source}: values are {given[0]} [N, *{given[1]}], and {self.space.noun} "
                f"are {np.dtype(self.space.dtype)} [N, *{self.space.shape}]"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def class_counts(self) -> tuple[int, ...]:
        return tuple(np.bincount(self.labels, minlength=self.num_classes).tolist())

    def representative(self) -> "ImageSet":
        return self

    def feed(
        self,
        placement: jax.sharding.Sharding,
        spread: Callable[[int], jax.sharding.Sharding],
        rows: int,
        first: int,
        stop: int,
    ) -> Feed:
        """The whole set on the device, the same at every step."""
        del spread, rows, first, stop
        return Feed(self.to_device(placement))

    def to_device(self, sharding: jax.sharding.Sharding | None = None) -> Resident:
        """A copy on the device, or on all devices of a replicated `sharding`."""
        data = Resident.of(self.images, self.labels, self.num_classes, self.space)
        return jax.device_put(data, sharding)

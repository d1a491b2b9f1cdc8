"""Labelled splits of sources on the host: their interface, and the decoded ones."""

import abc
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import jax
import numpy as np

from input_pipeline.decoding import DataError
from input_pipeline.feed import Feed
from input_pipeline.resident import Resident
from input_pipeline.space import Space


class DataSet(abc.ABC):
    """A labelled split of a source, decoded (`ImageSet`) or streamed (`streaming.Stream`).

    Attributes:
      class_names: one for each label.
      source, split: as in the config.
      space: the space of one sample.
      streamed: whether it is read while training.
    """

    class_names: tuple[str, ...]
    source: str
    split: str
    space: Space
    streamed: ClassVar[bool]

    @property
    @abc.abstractmethod
    def num_samples(self) -> int | None:
        """The number of samples; None if they do not end."""

    @property
    @abc.abstractmethod
    def fingerprint(self) -> str:
        """A SHA-256 of the samples and labels as they are read: the same wherever the data lie."""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    @abc.abstractmethod
    def class_counts(self) -> tuple[int, ...] | None:
        """The number of samples of each class; None if not known before all are read."""

    @abc.abstractmethod
    def representative(self) -> "ImageSet":
        """Decoded samples that represent the whole split."""

    @abc.abstractmethod
    def feed(
        self,
        placement: jax.sharding.Sharding,
        spread: Callable[[int], jax.sharding.Sharding],
        rows: int,
        first: int,
        stop: int,
    ) -> Feed:
        """The data of steps `first` to `stop` - 1 for a training loop.

        Args:
          placement: the sharding of whole arrays.
          spread: number of rows -> the sharding of a batch of so many rows.
          rows: the number of rows of a streamed batch, over all processes.
        """


@dataclasses.dataclass(frozen=True)
class ImageSet(DataSet):
    """A decoded split of a source.

    Attributes:
      images: stored values [N, *space.shape], in any space.
      labels: int32 [N].
      mirrored: stored values of the mirror images, which half of all visits take; None without
        `flip`, and for images, which are mirrored when they are used.

    Raises:
      ValueError: dtype or shape of the values is not that of the space, or the mirror images are
        not as many.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    source: str
    split: str
    space: Space
    mirrored: np.ndarray | None = None

    streamed = False

    def __post_init__(self):
        given = self.images.dtype, self.images.shape[1:]
        if given != (self.space.dtype, self.space.shape):
            raise ValueError(
                f"{self.source}: values are {given[0]} [N, *{given[1]}], but {self.space.noun} "
                f"are {np.dtype(self.space.dtype)} [N, *{self.space.shape}]"
            )
        if self.mirrored is not None and self.mirrored.shape != self.images.shape:
            raise ValueError(
                f"{self.source}: mirror images are {self.mirrored.shape}, but images "
                f"{self.images.shape}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_samples(self) -> int:
        return len(self)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of dtype and shape as text, then labels and values as little-endian numbers."""
        images = self.images
        digest = hashlib.sha256(f"{images.dtype} {list(map(int, images.shape))}\n".encode())
        digest.update(np.ascontiguousarray(self.labels, "<i4"))
        digest.update(np.ascontiguousarray(images, images.dtype.newbyteorder("<")))
        return digest.hexdigest()

    @property
    def class_counts(self) -> tuple[int, ...]:
        return tuple(np.bincount(self.labels, minlength=self.num_classes).tolist())

    def take(self, rows: np.ndarray) -> "ImageSet":
        """The samples of these rows."""
        mirrored = None if self.mirrored is None else self.mirrored[rows]
        return dataclasses.replace(
            self, images=self.images[rows], labels=self.labels[rows], mirrored=mirrored
        )

    def in_classes(self, names: Sequence[str]) -> "ImageSet":
        """The same samples, each labelled by the place of its class's name in `names`.

        Splits number their classes by themselves, and one may lack a class of another.

        Raises:
          DataError: a class with samples is not in `names`, or a name stands for two classes.
        """
        if self.class_names == tuple(names):
            return self
        places = {name: place for place, name in enumerate(names)}
        present = [self.class_names[label] for label in np.unique(self.labels)]
        where = f"{self.source}, split {self.split!r}"
        if len(places) < len(names) or len(set(present)) < len(present):
            raise DataError(f"{where}: two classes have the same name; rename one of them")
        unknown = [repr(name) for name in present if name not in places]
        if unknown:
            raise DataError(
                f"{where} has {len(unknown)} classes that were not trained on, {_few(unknown)}; "
                f"name its classes as in training: {_few(map(repr, names))}"
            )
        labels = np.asarray([places.get(name, -1) for name in self.class_names], np.int32)
        return dataclasses.replace(self, labels=labels[self.labels], class_names=tuple(names))

    def rows(self, first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Stored values and labels of the rows `first` to `stop` - 1."""
        return self.images[first:stop], self.labels[first:stop]

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
        data = Resident.of(self.images, self.labels, self.num_classes, self.space, self.mirrored)
        return jax.device_put(data, sharding)


def _few(names: Iterable[str]) -> str:
    """The first names, for a message."""
    first = list(itertools.islice(names, 7))
    return ", ".join(first[:6]) + (", ..." if len(first) > 6 else "")

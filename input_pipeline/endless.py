"""Streams without a length: samples made by a function of the user, one after another, for ever."""

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from input_pipeline.decoding import DataError
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Space
from input_pipeline.streaming import SPREAD, Batch, Streamed

FIRST_BYTES = 2**28  # of the first samples, which are kept to represent all

# Position in the stream -> the values and labels from there on.
Samples = Callable[[int], Iterator[tuple[np.ndarray, int]]]


class Endless(Streamed):
    """A split whose samples are read in their order, each once.

    The batch of step k starts at position k * rows, so a resumed run continues with the same
    batches if `samples` makes the same sample at the same position whenever it is called.

    Args:
      samples: see `Samples`; errors in a sample are raised when it is read.
    """

    def __init__(
        self, samples: Samples, class_names: tuple[str, ...], source: str, split: str, space: Space
    ):
        self._samples = samples
        self.class_names, self.source, self.split, self.space = class_names, source, split, space

    @property
    def num_samples(self) -> None:
        return None

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the first samples."""
        first = self.representative()
        digest = hashlib.sha256(first.labels.astype("<i4"))
        digest.update(np.ascontiguousarray(first.images, first.images.dtype.newbyteorder("<")))
        return digest.hexdigest()

    def representative(self) -> ImageSet:
        """The first samples: 2,048, or as many as fit into 256 MiB."""
        return self._first

    @functools.cached_property
    def _first(self) -> ImageSet:
        size = self.space.size * np.dtype(self.space.dtype).itemsize
        images, labels = self._take(self._samples(0), max(1, min(SPREAD, FIRST_BYTES // size)), 0)
        return ImageSet(images, labels, self.class_names, self.source, self.split, self.space)

    def batches(
        self, size: int, first: int, stop: int, process: int = 0, processes: int = 1
    ) -> Iterator[Batch]:
        """Batches number `first` to `stop` - 1 on the host: the share of one process.

        Each process makes all samples, and keeps its consecutive share of each batch.

        Raises:
          DataError: a sample is not as the config says, or there are no more.
        """
        samples, share = self._samples(first * size), size // processes
        for number in range(first, stop):
            images, labels = self._take(samples, size, number * size)
            mine = slice(process * share, (process + 1) * share)
            yield Batch(images[mine], labels[mine], self.space)

    def _take(
        self, samples: Iterator[tuple[np.ndarray, int]], count: int, position: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The next `count` samples, which begin at `position`: values [count, ...] and labels."""
        taken = list(itertools.islice(samples, count))
        if len(taken) < count:
            raise DataError(
                f"{self.source} ended after {position + len(taken)} samples, but training goes on; "
                "let the function yield for ever (`while True:`), or train for fewer steps"
            )
        images, labels = zip(*taken, strict=True)
        return np.stack(images), np.asarray(labels, np.int32)

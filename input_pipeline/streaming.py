"""Data that do not fit on the device: read ahead by threads, resumable at any step.

A checkpoint stores nothing of a stream: the contents of a batch follow from the run's seed and the
step.
"""

import abc
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence

import flax.struct
import jax
import numpy as np

from input_pipeline.data import Data
from input_pipeline.decoding import DataError, Records
from input_pipeline.feed import Feed
from input_pipeline.image_set import DataSet, ImageSet
from input_pipeline.space import Space

SPREAD = 2048  # records that represent a whole stream
SAMPLED = 1024  # records in a fingerprint


@flax.struct.dataclass
class Batch(Data):
    """The B records of one step of a stream, in random order; see `Data` for its calls.

    Attributes:
      images: stored values [B, *space.shape].
      labels: int32 [B].
    """

    images: jax.Array
    labels: jax.Array
    space: Space = flax.struct.field(pytree_node=False)

    def next_batch(self, key: jax.Array, step: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        """All records in the order of the stream."""
        del key, step
        if n != self.num_rows:
            raise ValueError(f"a streamed batch has {self.num_rows} records, not {n}")
        return self.space.to_model(self.images), self.labels

    def next_of_class(self, key: jax.Array, step: jax.Array, label: int, n: int) -> jax.Array:
        del key, step, label, n
        raise TypeError(
            "a streamed batch holds no whole class to go through; set config.data.streaming=False"
        )

    def draw(self, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        """The first n records."""
        del key
        if n > self.num_rows:
            raise ValueError(f"cannot draw {n} records from a streamed batch of {self.num_rows}")
        return self.space.to_model(self.images[:n]), self.labels[:n]

    def positives(self, key: jax.Array, classes: jax.Array, n: int) -> jax.Array:
        del key, classes, n
        raise TypeError("a streamed batch holds no whole class; draw positives from a SampleQueue")

    def fresh(self, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        """All records, for any n."""
        del key, n
        return self.images, self.labels


class Streamed(DataSet):
    """A split that is read while training, a batch for each step; its classes are not counted."""

    streamed = True

    @property
    def class_counts(self) -> None:
        return None

    def feed(
        self,
        placement: jax.sharding.Sharding,
        spread: Callable[[int], jax.sharding.Sharding],
        rows: int,
        first: int,
        stop: int,
    ) -> Feed:
        """A batch for each step, of which this process makes its share."""
        del placement
        sharding = spread(rows)

        def batches(first: int, stop: int) -> Iterator[Batch]:
            mine = self.batches(rows, first, stop, jax.process_index(), jax.process_count())
            return to_devices(mine, sharding)

        return Feed(next(batches(0, 1)), batches(first, stop))

    @abc.abstractmethod
    def batches(
        self, size: int, first: int, stop: int, process: int = 0, processes: int = 1
    ) -> Iterator[Batch]:
        """The share of one process of the batches number `first` to `stop` - 1, on the host."""


@dataclasses.dataclass(frozen=True)
class Stream(Streamed):
    """A split of a source as an endless stream of epochs, each in its own random order.

    Position p is in epoch p // N. The order of an epoch depends only on `seed` and the epoch, and
    what is drawn for a record only on `seed` and p. So every record is seen exactly once per epoch,
    and none is dropped at its end.

    Attributes:
      records: their number, and how to read one.
      seed: determines the orders and draws.
      threads: the number of reading threads. Each reads a batch of its own, so memory holds as many
        batches.
    """

    records: Records
    class_names: tuple[str, ...]
    source: str
    split: str
    space: Space
    seed: int
    threads: int

    def __len__(self) -> int:
        return self.records.count

    @property
    def num_samples(self) -> int:
        return len(self)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of N and of SAMPLED evenly spaced records; all would take as long as an epoch."""
        import grain

        count = len(self)
        rows = _spread(count, SAMPLED)
        digest = hashlib.sha256(f"{count}\n".encode())
        read = grain.MapDataset.range(len(rows)).map(lambda i: self.records.read(int(rows[i])))
        for values, label in self._read_ahead(read):
            digest.update(f"{label} {values.dtype} {values.shape}\n".encode())
            digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")))
        return digest.hexdigest()

    def rows(self, first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Values and labels of the rows `first` to `stop` - 1, in stored order."""
        return self._read(range(first, stop))

    def representative(self) -> ImageSet:
        """Evenly spread records: the first ones may all be of one class."""
        return self.spread(SPREAD)

    def batches(
        self, size: int, first: int, stop: int, process: int = 0, processes: int = 1
    ) -> Iterator[Batch]:
        """Batches number `first` to `stop` - 1 on the host; batch k starts at position k * size.

        Each process gets a consecutive share of each batch, size / processes records. Together the
        shares are the batch that a single process would get.

        Raises:
          DataError: a record is damaged (see `sources.open_stream`); raised at its batch.
        """
        import grain  # slow to import, and not needed for a resident data set

        order_of = functools.lru_cache(4)(self._order)  # the epochs being read

        def visit(position: int) -> tuple[np.ndarray, np.int32]:
            epoch, place = divmod(position, len(self))
            return self._visit(position, order_of(epoch)[place])

        # Not grain's own shuffle: for a small set it takes 20 ms per record (measured, 0.2.18).
        shares = grain.MapDataset.range(stop * size).map(visit).batch(size // processes)
        mine = shares[first * processes + process :: processes]
        for images, labels in self._read_ahead(mine):
            yield Batch(images, labels, self.space)

    def spread(self, count: int) -> ImageSet:
        """`count` evenly spread records in stored order, or all if there are fewer."""
        images, labels = self._read(_spread(len(self), count))
        return ImageSet(images, labels, self.class_names, self.source, self.split, self.space)

    def _read(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Values and labels of `rows`; record i is drawn as at position i of the stream."""
        import grain

        visits = grain.MapDataset.range(len(rows)).map(lambda i: self._visit(i, rows[i]))
        return tuple(map(np.stack, zip(*self._read_ahead(visits), strict=True)))

    def _order(self, epoch: int) -> np.ndarray:
        """The rows of an epoch in their order, int64 [N]."""
        return self._generator(0, epoch).permutation(len(self))

    def _generator(self, purpose: int, number: int) -> np.random.Generator:
        """The generator for an epoch's order (purpose 0) or a position's draws (purpose 1)."""
        return np.random.default_rng([self.seed % 2**64, purpose, number])  # NumPy: no negatives

    def _read_ahead(self, dataset) -> Iterator:
        import grain

        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=self.threads)
        return iter(dataset.to_iter_dataset(options))

    def _visit(self, position: int, row: int) -> tuple[np.ndarray, np.int32]:
        """The values of a row, drawn for this position if `records.draw` is set, and its label."""
        values, label = self.records.read(int(row))
        if self.records.draw:
            values = self.records.draw(values, self._generator(1, position))
        where = f"{self.source} {self.split}, row {row}"
        given, wanted = (values.dtype, values.shape), (self.space.dtype, self.space.shape)
        if given != wanted:
            raise DataError(
                f"{where}: the record is {values.dtype} {values.shape}, expected "
                f"{np.dtype(wanted[0])} {wanted[1]}; repair or remove it"
            )
        if not 0 <= label < self.num_classes:
            raise DataError(
                f"{where}: label {label} is not in 0 to {self.num_classes - 1}; repair or remove "
                "the record, or choose a split with labels"
            )
        return values, np.int32(label)


def _spread(total: int, count: int) -> np.ndarray:
    """`count` evenly spread rows of `total`, each only once; all if there are fewer."""
    return np.linspace(0, total - 1, min(total, count)).astype(int)


def to_devices(batches: Iterator[Batch], sharding: jax.sharding.Sharding) -> Iterator[Batch]:
    """The batches spread over the devices; each is copied while the previous one is in use.

    Args:
      batches: this process's share of each batch, on the host.
    """

    def put(batch: Batch) -> Batch:
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)

    ahead = None
    for batch in batches:
        now, ahead = ahead, put(batch)
        if now is not None:
            yield now
    if ahead is not None:
        yield ahead

"""Data that do not fit the device: read by threads ahead of need, resumable at any step.

Nothing of a stream is stored in a checkpoint: what a batch holds follows from the run's seed and
the number of its step.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import flax.struct
import jax
import numpy as np

from input_pipeline.data import Data
from input_pipeline.decoding import DataError, Records
from input_pipeline.feed import Feed
from input_pipeline.image_set import DataSet, ImageSet
from input_pipeline.space import Space

HEAD = 2048  # records that stand for all of a stream


@flax.struct.dataclass
class Batch(Data):
    """The B records of one step of a stream, in random order; its calls are described at `Data`.

    Attributes:
      images: stored values [B, *space.shape].
      labels: int32 [B].
    """

    images: jax.Array
    labels: jax.Array
    space: Space = flax.struct.field(pytree_node=False)

    def next_batch(self, key: jax.Array, step: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        """The records as they came: the stream has seen to their order."""
        del key, step
        if n != self.num_rows:
            raise ValueError(f"a streamed batch of {self.num_rows} records is no batch of {n}")
        return self.space.to_model(self.images), self.labels

    def draw(self, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        """The first n."""
        del key
        if n > self.num_rows:
            raise ValueError(f"a streamed batch of {self.num_rows} records has no {n} to draw")
        return self.space.to_model(self.images[:n]), self.labels[:n]

    def positives(self, key: jax.Array, classes: jax.Array, n: int) -> jax.Array:
        del key, classes, n
        raise TypeError("a streamed batch holds no class whole; draw positives from a SampleQueue")

    def fresh(self, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        """All of them, whatever n is."""
        del key, n
        return self.images, self.labels


@dataclasses.dataclass(frozen=True)
class Stream(DataSet):
    """A split of a source as an endless stream of epochs, each in its own random order.

    Position p is in epoch p // N; the order of an epoch depends on `seed` and the epoch alone, and
    what is drawn for a record on `seed` and p. So every record is seen exactly once an epoch, and
    none is dropped at its end.

    Attributes:
      records: how many there are, and how one is read.
      seed: of the orders and draws.
      threads: that read; each works on a batch of its own, so as many batches are in memory.
    """

    records: Records
    class_names: tuple[str, ...]
    source: str
    split: str
    fingerprint: str
    space: Space
    seed: int
    threads: int

    streamed = True

    def __len__(self) -> int:
        return self.records.count

    @property
    def class_counts(self) -> None:
        return None

    def representative(self) -> ImageSet:
        """The first records in the order in which they are stored."""
        return self.head(HEAD)

    def feed(
        self,
        placement: jax.sharding.Sharding,
        spread: Callable[[int], jax.sharding.Sharding],
        rows: int,
        first: int,
        stop: int,
    ) -> Feed:
        """A batch for each step, of which this process reads its share."""
        del placement
        sharding = spread(rows)

        def batches(first: int, stop: int) -> Iterator[Batch]:
            mine = self.batches(rows, first, stop, jax.process_index(), jax.process_count())
            return to_devices(mine, sharding)

        return Feed(next(batches(0, 1)), batches(first, stop))

    def batches(
        self, size: int, first: int, stop: int, process: int = 0, processes: int = 1
    ) -> Iterator[Batch]:
        """Batches number `first` to `stop` - 1, of the stream's positions step * size and on.

        Each of the processes gets its consecutive share of every batch, on the host: size /
        processes records. Together they are the batch that one process would get.

        Raises:
          DataError: as `sources.open_stream`, when the batch that holds the record is asked for.
        """
        import grain  # slow to import, and a resident data set needs none of it

        order_of = functools.lru_cache(4)(self._order)  # of epochs that are being read

        def visit(position: int) -> tuple[np.ndarray, np.int32]:
            epoch, place = divmod(position, len(self))
            return self._visit(position, order_of(epoch)[place])

        # Not grain's own shuffle: for a small set it takes 20 ms a record (measured, 0.2.18).
        shares = grain.MapDataset.range(stop * size).map(visit).batch(size // processes)
        mine = shares[first * processes + process :: processes]
        for images, labels in self._read_ahead(mine):
            yield Batch(images, labels, self.space)

    def head(self, count: int) -> ImageSet:
        """The first `count` records in the order in which they are stored, or all if fewer."""
        import grain

        rows = grain.MapDataset.range(min(count, len(self))).map_with_index(self._visit)
        images, labels = map(np.stack, zip(*self._read_ahead(rows), strict=True))
        names, identity = self.class_names, (self.source, self.split, self.fingerprint)
        return ImageSet(images, labels, names, *identity, self.space)

    def _order(self, epoch: int) -> np.ndarray:
        """The rows of an epoch, int64 [N]."""
        return self._generator(0, epoch).permutation(len(self))

    def _generator(self, purpose: int, number: int) -> np.random.Generator:
        """Of an epoch's order (purpose 0) or of what a position draws (1)."""
        return np.random.default_rng([self.seed % 2**64, purpose, number])  # seeds have no sign

    def _read_ahead(self, dataset) -> Iterator:
        import grain

        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=self.threads)
        return iter(dataset.to_iter_dataset(options))

    def _visit(self, position: int, row: int) -> tuple[np.ndarray, np.int32]:
        """The values and label of a row, with what is drawn for this position."""
        values, label = self.records.read(int(row))
        if self.records.draw:
            values = self.records.draw(values, self._generator(1, position))
        where = f"{self.source} {self.split}, row {row}"
        given, wanted = (values.dtype, values.shape), (self.space.dtype, self.space.shape)
        if given != wanted:
            raise DataError(
                f"{where}: the record is {values.dtype} {values.shape}, expected "
                f"{np.dtype(wanted[0])} {wanted[1]}; mend or remove it"
            )
        if not 0 <= label < self.num_classes:
            raise DataError(
                f"{where}: label {label} is not in 0 to {self.num_classes - 1}; mend or remove the "
                "record, or choose a split with labels"
            )
        return values, np.int32(label)


def to_devices(batches: Iterator[Batch], sharding: jax.sharding.Sharding) -> Iterator[Batch]:
    """The batches spread over the devices, each copied while the one before it is in use.

    Args:
      batches: on the host, this process's share of each.
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

"""A folder of the moments of an autoencoder's latents, as `scripts/encode_latents.py` writes it.

    encoding.json                         what is encoded, and how: written first
    train-00000-of-00012.array_record     shards of `shard_rows` images each, the last one of less
    latents.json                          the same with statistics: written last

A record is one image: RECORD, then the moments, float32 [copies, h, w, 2c] of the image and, in a
mirrored set, of its mirror image. All numbers are little-endian. Each record says to which encoding
it belongs, so that no shard of another one can be taken for it.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from drifting.core import files
from input_pipeline.decoding import DataError, reason_of

STARTED, FINISHED = "encoding.json", "latents.json"
VERSION = 1  # of the format
OPTIONS = "image_size", "channels", "fit", "on_corrupt"  # of the images, see `sources.load`
RECORD = struct.Struct("<8sii")  # LatentSet.mark, row, label
LOG_VARIANCE = (-30.0, 20.0)  # clipped to, as in the release's DiagonalGaussianDistribution
BLOCK = 64  # rows whose statistics are taken at once
WRITER = "group_size:1,uncompressed"  # a record is read alone; equal records give equal bytes

# (split, first row, row after the last) -> moments [copies, h, w, 2c] and label of each row
Encode = Callable[[str, int, int], Iterable[tuple[np.ndarray, int]]]


@dataclasses.dataclass(frozen=True)
class LatentSplit:
    """An encoded split.

    Attributes:
      count: the number of images.
      fingerprint: of the images and labels, see `DataSet.fingerprint`.
      class_names: one for each label.
      mean, std: of each channel of the latents drawn from all moments; () until all are encoded.
    """

    count: int
    fingerprint: str
    class_names: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class LatentSet:
    """What a folder holds.

    Attributes:
      autoencoder: the workdir, as it was given.
      autoencoder_identity: see `Codec.identity`.
      source, image_size, channels, fit, on_corrupt: how to load the images that were encoded, see
        `sources.load`.
      latent_shape: (h, w, c).
      mirrored: whether mirror images are encoded, too.
      batch_size: images per call of the encoder, on which its rounding may depend.
      shard_rows: images per shard.
      splits: by name; the first is that whose statistics standardise all.
    """

    autoencoder: str
    autoencoder_identity: str
    source: str
    image_size: int
    channels: int
    fit: str
    on_corrupt: str
    latent_shape: tuple[int, int, int]
    mirrored: bool
    batch_size: int
    shard_rows: int
    splits: dict[str, LatentSplit] = dataclasses.field(hash=False)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._first.class_names

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel of the autoencoder's latents, that which `normalise` takes away."""
        return self._first.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel of the autoencoder's latents, that by which `normalise` divides."""
        return self._first.std

    @property
    def moments_shape(self) -> tuple[int, int, int, int]:
        """[copies, h, w, 2c]: of one record."""
        height, width, channels = self.latent_shape
        return 1 + self.mirrored, height, width, 2 * channels

    @property
    def options(self) -> dict[str, Any]:
        """How to open the images, for `sources.open_rows` and `sources.load`."""
        return {name: getattr(self, name) for name in OPTIONS}

    @functools.cached_property
    def binding(self) -> dict[str, Any]:
        """JSON values that are equal for the same moments, wherever images and autoencoder lie."""
        values = dataclasses.asdict(self) | {"version": VERSION}
        for name in ("autoencoder", "source"):
            values.pop(name)
        for split in values["splits"].values():
            split.pop("mean"), split.pop("std")
        values["splits"] = list(values["splits"].items())  # in order: see `splits`
        return json.loads(files.to_json(values))

    @functools.cached_property
    def mark(self) -> bytes:
        """Eight bytes of a SHA-256 of the binding."""
        text = json.dumps(self.binding, sort_keys=True)
        return hashlib.sha256(text.encode()).digest()[:8]

    def normalise(self, latents: np.ndarray) -> np.ndarray:
        """Latents [..., c] of the autoencoder with mean 0 and variance 1 per channel."""
        return (latents - np.float32(self._first.mean)) / np.float32(self._first.std)

    def paths(self, folder: pathlib.Path, split: str) -> list[pathlib.Path]:
        """The shards of a split, in order."""
        number = len(self.rows(split))
        return [folder / f"{split}-{k:05}-of-{number:05}.array_record" for k in range(number)]

    def rows(self, split: str) -> list[tuple[int, int]]:
        """The first row of each shard of a split, and the one after its last."""
        count = self.splits[split].count
        firsts = range(0, count, self.shard_rows)
        return [(first, min(first + self.shard_rows, count)) for first in firsts]

    @property
    def _first(self) -> LatentSplit:
        return next(iter(self.splits.values()))


# --- reading -------------------------------------------------------------------------------------


def describe(folder: str | os.PathLike) -> LatentSet:
    """What a finished folder holds.

    Raises:
      DataError: it is unfinished, or is no such folder, or its description is damaged.
    """
    folder = pathlib.Path(folder).expanduser()
    if not (folder / FINISHED).is_file():
        raise DataError(
            f"{folder} has no {FINISHED}: run its `python scripts/encode_latents.py` command "
            "again, which goes on where it stopped"
        )
    return _read(folder / FINISHED)


class Reader:
    """The records of one split, read by row from any number of threads.

    Raises:
      DataError: a shard is missing, damaged or of another encoding, now or when it is read.
    """

    def __init__(self, folder: pathlib.Path, latent_set: LatentSet, split: str):
        self._set, self._split = latent_set, split
        self._paths = latent_set.paths(folder, split)
        self._records = [
            _open(path, stop - first)
            for path, (first, stop) in zip(self._paths, latent_set.rows(split), strict=True)
        ]

    def __len__(self) -> int:
        return self._set.splits[self._split].count

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        """Moments, float32 [copies, h, w, 2c], and label of a row."""
        number, place = divmod(row, self._set.shard_rows)
        with _intact(self._paths[number]):
            record = self._records[number][place]
        return _unpack(self._paths[number], record, self._set, row)


def _open(path: pathlib.Path, count: int) -> Sequence[bytes]:
    """The `count` records of a shard."""
    from array_record.python import array_record_data_source

    if not path.is_file():
        raise DataError(
            f"{path} is missing: restore it, or run scripts/encode_latents.py again, which writes "
            "it anew"
        )
    with _intact(path):
        records = array_record_data_source.ArrayRecordDataSource(str(path))
    if len(records) != count:
        raise _damaged(path, f"it has {len(records)} records, not {count}")
    return records


def _unpack(
    path: pathlib.Path, record: bytes, latent_set: LatentSet, row: int
) -> tuple[np.ndarray, int]:
    if len(record) < RECORD.size or RECORD.unpack_from(record)[:2] != (latent_set.mark, row):
        raise DataError(
            f"{path} is a shard of another encoding than {path.parent}, or of other rows: remove "
            "it and run scripts/encode_latents.py again, which writes it anew"
        )
    moments = np.frombuffer(record, "<f4", offset=RECORD.size)
    return moments.reshape(latent_set.moments_shape), RECORD.unpack_from(record)[2]


@contextlib.contextmanager
def _intact(path: pathlib.Path) -> Iterator[None]:
    """A shard is read within; whatever array_record raises for a damaged one is a DataError."""
    try:
        yield
    except Exception as error:
        raise _damaged(path, reason_of(error)) from error


def _damaged(path: pathlib.Path, reason: str) -> DataError:
    return DataError(
        f"{path} is damaged: {reason}. Remove it and run scripts/encode_latents.py again, which "
        "writes it anew"
    )


def _read(path: pathlib.Path) -> LatentSet:
    try:
        values = json.loads(path.read_bytes())
        version = values.pop("version")
        splits = {
            name: LatentSplit(**{k: _tuple(v) for k, v in split.items()})
            for name, split in values.pop("splits").items()
        }
        found = LatentSet(**{k: _tuple(v) for k, v in values.items()}, splits=splits)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is damaged: {error}. Encode into another --out") from error
    if version != VERSION:
        raise DataError(f"{path} has format {version}, not {VERSION}: encode the images again")
    return found


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# --- writing -------------------------------------------------------------------------------------


def claim(folder: pathlib.Path, latent_set: LatentSet) -> list[tuple[str, int]]:
    """Binds the folder to an encoding, and returns split and number of each missing shard.

    Raises:
      DataError: the folder holds another encoding, or something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    started = folder / STARTED
    if started.exists():
        _require_same(folder, _read(started).binding, latent_set.binding)
    else:
        _require_empty(folder)
        _write_description(started, latent_set)
    missing = []
    for split in latent_set.splits:
        shards = zip(latent_set.paths(folder, split), latent_set.rows(split), strict=True)
        for number, (path, (first, stop)) in enumerate(shards):
            if not path.exists():
                missing.append((split, number))
                continue
            records = _open(path, stop - first)
            with _intact(path):
                record = records[0]
            _unpack(path, record, latent_set, first)
    return missing


def write_shard(
    folder: pathlib.Path, latent_set: LatentSet, split: str, number: int, encode: Encode
) -> None:
    """Writes one shard, whole or not at all; equal moments give equal bytes.

    Raises:
      DataError: moments are not finite, or have another shape than the set's.
    """
    from array_record.python import array_record_module

    path = latent_set.paths(folder, split)[number]
    first, stop = latent_set.rows(split)[number]
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with _written(path):
            writer = array_record_module.ArrayRecordWriter(str(temporary), WRITER)
        for row, (moments, label) in enumerate(encode(split, first, stop), first):
            if moments.shape != latent_set.moments_shape or not np.isfinite(moments).all():
                raise DataError(
                    f"{latent_set.source} {split}, row {row}: {latent_set.autoencoder} gives "
                    f"moments {moments.shape} that are not finite, or not "
                    f"{latent_set.moments_shape}; train it again, or repair the image"
                )
            head = RECORD.pack(latent_set.mark, row, label)
            with _written(path):
                writer.write(head + np.ascontiguousarray(moments, "<f4").tobytes())
        with _written(path):
            writer.close()
        _open(temporary, stop - first)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _written(path: pathlib.Path) -> Iterator[None]:
    """A shard is written within; what array_record raises, as on a full disk, is a DataError."""
    try:
        yield
    except Exception as error:
        raise DataError(f"cannot write {path}: {reason_of(error)}; make room for it") from error


def finish(folder: pathlib.Path, latent_set: LatentSet) -> LatentSet:
    """Reads all shards, and writes and returns the description with their statistics."""
    splits = {}
    for name, split in latent_set.splits.items():
        mean, std = _statistics(folder, latent_set, name)
        if not (std > 0).all():
            raise DataError(
                f"{folder}, split {name!r}: channel {int(np.argmin(std))} of the latents is "
                "constant, so it cannot be standardised; train the autoencoder again"
            )
        splits[name] = dataclasses.replace(
            split, mean=tuple(mean.tolist()), std=tuple(std.tolist())
        )
    finished = dataclasses.replace(latent_set, splits=splits)
    _write_description(folder / FINISHED, finished)
    return finished


def _statistics(
    folder: pathlib.Path, latent_set: LatentSet, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of drawn latents per channel, float64 [c] each.

    The variance of a draw is that of the posteriors' means and the mean of their variances.
    """
    reader = Reader(folder, latent_set, split)
    count, mean, spread, inner = 0, 0.0, 0.0, 0.0  # spread: sum of squared deviations
    for first in range(0, len(reader), BLOCK):
        rows = range(first, min(first + BLOCK, len(reader)))
        moments = np.stack([reader[row][0] for row in rows]).astype(np.float64)
        means, log_variances = np.split(moments.reshape(-1, moments.shape[-1]), 2, axis=-1)
        # Joining two groups (Chan, Golub and LeVeque, 1983) avoids the cancellation of raw sums.
        n, theirs = len(means), means.mean(axis=0)
        spread += means.var(axis=0) * n + (theirs - mean) ** 2 * count * n / (count + n)
        mean += (theirs - mean) * n / (count + n)
        inner += np.exp(np.clip(log_variances, *LOG_VARIANCE)).sum(axis=0)
        count += n
    return mean, np.sqrt((spread + inner) / count)


def _write_description(path: pathlib.Path, latent_set: LatentSet) -> None:
    files.write_json(path, dataclasses.asdict(latent_set) | {"version": VERSION})


def _require_empty(folder: pathlib.Path) -> None:
    others = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if others:
        raise DataError(
            f"{folder} holds {others[0]}, but no {STARTED} that says how it was encoded: choose "
            "another --out"
        )


def _require_same(folder: pathlib.Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raises DataError that names the first thing in which two bindings differ."""
    for name, value in ours.items():
        if theirs[name] == value:
            continue
        if name == "splits":
            what = "other images, labels or splits (in this order)"
        else:
            what = f"{name} = {theirs[name]}, not {value}"
        raise DataError(
            f"{folder} holds latents with {what}: choose another --out, or remove the folder to "
            "encode again"
        )

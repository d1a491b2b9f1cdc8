"""Fixed stratified splits of a training set, and the statistics of its training part.

scikit-learn's splitters are not used because their rows depend on a random generator, which other
versions need not reproduce; these depend on SHA-256.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from drifting.core.files import write_atomically
from input_pipeline.decoding import DataError
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Pixels

LIMIT_SEED = 7  # of the samples that `limit` chooses; another one is another data set
HISTOGRAM_CHUNK = 1024  # images counted at a time: np.bincount casts each pixel to 8 bytes


def apportion(num: int, counts: Sequence[int]) -> np.ndarray:
    """`num` places divided in proportion to `counts` [K], int64 [K].

    Each class gets its exact share rounded down, and the remaining places go to the largest
    remainders (Hamilton's method; among equal remainders, to the lower label).

    Raises:
      ValueError: num or a count is negative, or all counts are 0.
    """
    # Python integers, because num * count may exceed 2^63 and ties need exact remainders.
    counts = [int(count) for count in counts]
    total = sum(counts)
    if num < 0 or total == 0 or min(counts) < 0:
        raise ValueError(f"need num >= 0 and counts with a positive sum, got {num} and {counts}")
    shares = np.array([num * count // total for count in counts], np.int64)
    remainders = [num * count % total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda label: -remainders[label])
    shares[by_remainder[: num - shares.sum()]] += 1
    return shares


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The images of a set that are held out for validation.

    Attributes:
      source, split: those of the image set.
      content_sha256: its fingerprint; the same on every machine.
      seed: determines the order of the rows.
      num_images: N, the size of both parts together.
      val_indices: sorted rows, int64.
    """

    source: str
    split: str
    content_sha256: str
    seed: int
    num_images: int
    val_indices: np.ndarray

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Split) and _text(self) == _text(other)

    @property
    def train_indices(self) -> np.ndarray:
        """The other rows, sorted, int64."""
        held_out = np.zeros(self.num_images, bool)
        held_out[self.val_indices] = True
        return np.flatnonzero(~held_out)

    def apply(self, image_set: ImageSet) -> tuple[ImageSet, ImageSet]:
        """The part to train on, `train[fit]`, and the part to validate on, `train[val]`.

        Raises:
          DataError: the split was made for other data.
        """
        given = len(image_set), image_set.fingerprint
        if given != (self.num_images, self.content_sha256):
            raise DataError(
                f"the split was made for other images or labels than {image_set.source} has now; "
                "make a new one"
            )

        def part(name: str, rows: np.ndarray) -> ImageSet:
            taken = image_set.take(rows)
            return dataclasses.replace(taken, split=f"{image_set.split}[{name}]")

        return part("fit", self.train_indices), part("val", self.val_indices)


def make(image_set: ImageSet, num_val: int, seed: int = 42) -> Split:
    """Holds out num_val images, from each class its share to within one image (`apportion`).

    The rows of a class are ordered by SHA-256("<seed> <row>") and the first are held out, so
    membership depends only on seed, rows and labels, not on a random generator or on pixels.

    Raises:
      DataError: num_val is not in 1 to N - 1, or a class has fewer than 2 images.
    """
    if not 1 <= num_val < len(image_set):
        raise DataError(
            f"cannot hold out {num_val} of the {len(image_set)} images of {image_set.source}; "
            f"ask for 1 to {len(image_set) - 1}"
        )
    counts = image_set.class_counts
    named = zip(image_set.class_names, counts, strict=True)
    few = [f"{name} ({count})" for name, count in named if count < 2]
    if few:
        raise DataError(
            f"{image_set.source} has classes with fewer than the 2 images that a split needs: "
            f"{', '.join(few)}. Add images, or remove the class"
        )
    return Split(
        source=image_set.source,
        split=image_set.split,
        content_sha256=image_set.fingerprint,
        seed=int(seed),
        num_images=len(image_set),
        val_indices=_choose(image_set.labels, apportion(num_val, counts), seed),
    )


def limit(image_set: ImageSet, num: int) -> ImageSet:
    """A set of `num` of the images, from each class its share to within one image (`apportion`).

    They are the same everywhere and chosen as by `make`, with a seed of their own.

    Raises:
      DataError: the set has fewer images, or one of its classes would be left without any.
    """
    where = f"config.data.limit = {num}: {image_set.source}, split {image_set.split!r},"
    if num > len(image_set):
        raise DataError(
            f"{where} has only {len(image_set)} samples; set at most {len(image_set)}, or 0 for all"
        )
    counts = image_set.class_counts
    shares = apportion(num, counts)
    lost = [k for k, (share, count) in enumerate(zip(shares, counts, strict=True))
            if count and not share]  # fmt: skip
    if lost:
        least = min(count for count in counts if count)
        raise DataError(
            f"{where} has {image_set.num_classes} classes, of which {len(lost)} would be left "
            f"without a sample, {image_set.class_names[lost[0]]!r} the first of them; set "
            f"{-(-len(image_set) // least)} or more"
        )
    return image_set.take(_choose(image_set.labels, shares, LIMIT_SEED))


def _choose(labels: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Sorted rows, int64: of each class its share, the first in the order of `_place`."""
    order = np.asarray(sorted(range(len(labels)), key=lambda row: _place(seed, row)))
    ordered = labels[order]
    chosen = [order[ordered == label][:share] for label, share in enumerate(shares)]
    return np.sort(np.concatenate(chosen))


def _place(seed: int, row: int) -> bytes:
    return hashlib.sha256(b"%d %d" % (seed, row)).digest()


def load_or_make(
    path: str | os.PathLike, image_set: ImageSet, num_val: int, seed: int = 42
) -> Split:
    """The split in the file, checked against the arguments, or a new one, which is written there.

    Raises:
      DataError: as `make`, or the file is damaged or was made for other arguments.
    """
    made = make(image_set, num_val, seed)
    if not pathlib.Path(path).exists():
        write(path, made)
        return made
    found = read(path)
    for what, theirs, ours in (
        ("data with SHA-256", found.content_sha256, made.content_sha256),
        ("seed", found.seed, made.seed),
        ("validation size", len(found.val_indices), num_val),
    ):
        if theirs != ours:
            raise DataError(
                f"{path} is a split of {what} {theirs}, not {ours}: name another file, or remove "
                "this one to make a new split"
            )
    rows_agree = np.array_equal(found.val_indices, made.val_indices)
    if found.num_images != made.num_images or not rows_agree:
        raise DataError(f"{path} is damaged: its rows were changed. Remove it to make a new split")
    return found


def write(path: str | os.PathLike, split: Split) -> None:
    """Writes the split atomically as JSON text; equal splits give equal bytes."""
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _text(split).encode())
    except OSError as error:
        raise DataError(f"cannot write the split {path}: {error}; name another file") from error


def read(path: str | os.PathLike) -> Split:
    """The split that `write` wrote.

    Raises:
      DataError: the file is missing or damaged.
    """
    try:
        values = json.loads(pathlib.Path(path).read_bytes())
        rows = np.asarray(values.pop("val_indices"), np.int64)
        split = Split(**values, val_indices=rows)
        _check(split)
        return split
    except FileNotFoundError as error:
        raise DataError(f"no split file {path}; make one with load_or_make") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{path} is damaged and cannot be read as a split: {error}. Remove it to make a new "
            "split"
        ) from error


def _check(split: Split) -> None:
    if not all(isinstance(x, str) for x in (split.source, split.split, split.content_sha256)):
        raise ValueError("source, split and content_sha256 must be text")
    if not all(isinstance(x, int) for x in (split.seed, split.num_images)):
        raise ValueError("seed and num_images must be integers")
    rows = split.val_indices
    if rows.ndim != 1 or not 1 <= len(rows) < split.num_images:
        raise ValueError(f"val_indices must list 1 to {split.num_images - 1} rows")
    if rows[0] < 0 or rows[-1] >= split.num_images or np.any(np.diff(rows) <= 0):
        raise ValueError(f"val_indices must be sorted and within 0 to {split.num_images - 1}")


def _text(split: Split) -> str:
    """The split as JSON. The bytes depend on this layout: sorted keys, one row index per line."""
    values = {f.name: getattr(split, f.name) for f in dataclasses.fields(split)}
    values["val_indices"] = split.val_indices.tolist()
    return json.dumps(values, sort_keys=True, indent=1) + "\n"


def channel_statistics(image_set: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation of each channel a model sees, each float64 [C].

    For images, statistics of the pixels in [-1, 1], exact up to the last rounding (integer sums
    over 256-bin histograms). Call it with the training part only: validation images must not
    influence what the model sees.
    """
    if not isinstance(image_set.space, Pixels):
        values = image_set.images.reshape(-1, image_set.images.shape[-1])  # [M, C]
        return values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    counts = _histograms(image_set.images)  # [C, 256]
    values = range(256)
    means, deviations = [], []
    for row in counts.tolist():
        n = sum(row)
        first = sum(c * v for c, v in zip(row, values, strict=True))
        second = sum(c * v * v for c, v in zip(row, values, strict=True))
        means.append((2 * first - 255 * n) / (255 * n))
        # Python integers are exact, so the variance suffers no cancellation or overflow.
        deviations.append(((n * second - first * first) / (n * n)) ** 0.5 / 127.5)
    return np.asarray(means), np.asarray(deviations)


def _histograms(images: np.ndarray) -> np.ndarray:
    """int64 [C, 256] of uint8 [N, H, W, C]."""
    counts = np.zeros((images.shape[-1], 256), np.int64)
    for start in range(0, len(images), HISTOGRAM_CHUNK):
        chunk = images[start : start + HISTOGRAM_CHUNK]
        for channel, row in enumerate(counts):
            row += np.bincount(chunk[..., channel].ravel(), minlength=256)
    return counts

"""Arrays in npy and npz files written by others: checked by their headers before they are read.

A header says how large an array is, so a false one could ask for all memory. It is compared with
the size of the file first, and nothing is ever unpickled.
"""

import contextlib
import dataclasses
import math
import pathlib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO

import numpy as np

from input_pipeline.decoding import DataError, numbered_classes

NPY = ".npy"  # what the names of arrays end in, inside an npz file
# Zeros deflate to a thousandth: an archive of megabytes can hold more than the memory.
MAX_RATIO, ALWAYS_READ = 200, 2**28


@dataclasses.dataclass(frozen=True)
class Stored:
    """An array in a file, of which only the header was read.

    Attributes:
      where: names it in messages.
      read: () -> the array; DataError if it is damaged.
    """

    where: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


# --- reading -------------------------------------------------------------------------------------


def in_npy(path: pathlib.Path) -> Stored:
    """The array of an npy file; `read` maps it into memory."""
    try:
        with open(path, "rb") as file:
            shape, fortran, dtype = _header(file, path.stat().st_size)
            start = file.tell()
    except Exception as error:  # a damaged header raises anything
        raise _unreadable(path, "npy", "np.save", error) from error

    def read() -> np.ndarray:
        return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")

    return Stored(str(path), shape, dtype, read)


def npz_names(path: pathlib.Path) -> list[str]:
    """The names of the arrays of an npz file, and of anything else in it."""
    with _opened(path) as archive:
        return [name.removesuffix(NPY) for name in archive.namelist()]


def in_npz(path: pathlib.Path, name: str) -> Stored:
    """The array called `name` of an npz file."""
    with _opened(path) as archive:
        member = archive.getinfo(name + NPY)
        _require_modest(member, path.stat().st_size)
        with archive.open(member) as file:
            shape, _, dtype = _header(file, member.file_size)

    def read() -> np.ndarray:
        with _opened(path) as archive, archive.open(name + NPY) as file:
            found = np.lib.format.read_array(file, allow_pickle=False)
            file.read(1)  # the checksum is compared at the end, which an exact read does not reach
            return found

    return Stored(f"{path}: {name}", shape, dtype, read)


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
    """An npz file; whatever cannot be read of it is a DataError."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except Exception as error:  # a damaged archive raises anything
        raise _unreadable(path, "npz", "np.savez", error) from error


def _require_modest(member: zipfile.ZipInfo, size: int) -> None:
    """Raises ValueError for an array that expands too much, in a file of `size` bytes."""
    if member.file_size > max(MAX_RATIO * min(member.compress_size, size), ALWAYS_READ):
        raise ValueError(
            f"{member.filename} expands from {member.compress_size} to {member.file_size} bytes"
        )


def _header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran order, and dtype of an npy file of `size` bytes.

    Raises:
      ValueError: it is not such a file, or the size is another than the header says. (Objects are
        stored as pickles of any size; their dtype tells the caller.)
    """
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version} of the format is for structured arrays")
    shape, fortran, dtype = readers[version](file)
    if any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"{shape} is not a shape")
    expected = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and expected != size - file.tell():
        raise ValueError(
            f"its header says {dtype} {shape}, {expected} bytes, but {size - file.tell()} follow"
        )
    return shape, fortran, dtype


def _unreadable(path: pathlib.Path, kind: str, writer: str, error: Exception) -> DataError:
    reason = f"{error}"[:200] or type(error).__name__
    return DataError(
        f"{path} cannot be read as an {kind} file of numbers: {reason}. Save it again with {writer}"
    )


# --- checks --------------------------------------------------------------------------------------


def check_images(where: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuses all but uint8 [N, H, W] and [N, H, W, C] with C = 1 or 3; none may be 0."""
    found = f"{where}: images are {dtype} {shape}, expected uint8 [N, H, W, C] with C = 1 or 3"
    if dtype != np.uint8:
        raise DataError(
            f"{found}; bring the values to 0 to 255 and save images.round().astype('uint8')"
        )
    if len(shape) not in (3, 4):
        raise DataError(f"{found}; save them in this shape")
    if 0 in shape:
        raise DataError(f"{found}; there is no image in them, save at least one pixel of one")
    if len(shape) == 3 and shape[2] in (1, 3) and shape[1] != shape[2]:
        raise DataError(f"{found}; save images[None] if this is one image")
    if len(shape) == 3 or shape[3] in (1, 3):
        return
    if shape[1] in (1, 3):
        raise DataError(f"{found}; channels come last: save images.transpose(0, 2, 3, 1)")
    if shape[3] in (2, 4):
        raise DataError(
            f"{found}; blend the transparent ones with a background, or save images[..., "
            f":{shape[3] - 1}] to leave out the last channel"
        )
    raise DataError(f"{found}; save only these channels")


def check_labels(labels: Stored, count: int, classes: int) -> np.ndarray:
    """The labels, integers [count] from 0 to less than `classes`.

    Args:
      count: the number of samples that they label.
      classes: that of the largest split: higher labels would make more classes than samples, and
        are not numbers from 0 but, say, identifiers.
    """
    found = f"{labels.where}: labels are {labels.dtype} {labels.shape}, expected integers [N]"
    if labels.dtype.kind in "OSU":
        raise DataError(
            f"{found}; number the classes from 0: np.unique(labels, return_inverse=True)"
        )
    if labels.shape == (count, 1):
        raise DataError(f"{found}; save labels[:, 0]")
    if len(labels.shape) == 2:
        raise DataError(f"{found}; if they are one-hot, save labels.argmax(axis=1)")
    if len(labels.shape) != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{found}; save the number of its class for each sample")
    if labels.shape != (count,):
        raise DataError(
            f"{labels.where}: {count} samples but {labels.shape[0]} labels; save one for each"
        )
    values = labels.read()
    least, most = (int(values.min()), int(values.max())) if count else (0, 0)
    if least < 0 or most >= classes:
        raise DataError(
            f"{labels.where}: labels are {least} to {most}, but must be at least 0 and less than "
            f"the number of samples, {classes}; number the classes from 0"
        )
    return values


def most_rows(splits: Iterable[Stored]) -> int:
    """The number of rows of the largest array."""
    return max(rows for stored in splits for rows in stored.shape[:1])


def with_channels(images: np.ndarray) -> np.ndarray:
    """[N, H, W] as [N, H, W, 1]; [N, H, W, C] unchanged."""
    return images[..., None] if images.ndim == 3 else images


def classes_of(labels: np.ndarray) -> tuple[str, ...]:
    """Names of the classes 0 to the highest label."""
    return numbered_classes(int(labels.max(initial=0)) + 1)

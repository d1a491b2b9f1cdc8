"""A cache of decoded arrays on disk, so that a data set is decoded once.

joblib.Memory is not used because it has no lock: all processes of a run would decode at the start.
"""

import contextlib
import hashlib
import json
import pathlib
import warnings
from collections.abc import Callable, Iterable

import numpy as np

from drifting.core import files
from input_pipeline import arrays
from input_pipeline.decoding import DataError

VERSION = 2  # raise it where decoding the same files gives other arrays

Decode = Callable[[], tuple[np.ndarray, np.ndarray]]  # () -> images, labels


def digest(values: object) -> str:
    """A short hexadecimal digest of JSON values."""
    text = json.dumps(values, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()[:20]


def identity(root: pathlib.Path, paths: Iterable[pathlib.Path]) -> list:
    """JSON values that change when files below `root` are others, or are written again.

    The resolved root and, for each file, its name, size, inode and times of modification and of
    change. Names, sizes and modification times can be equal for other pixels: bitmaps of one shape
    have one size, and archives and package stores give every file the same time. No program can
    set the time of change. The bytes are not hashed, because reading them all at every start is
    what the cache avoids. So a copy of the data, or a renamed folder, is decoded once more.
    """
    found = [str(root.resolve())]
    for path in paths:
        s = path.stat()
        name = str(path.relative_to(root))
        found.append([name, s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns])
    return found


def decoded(key: str, decode: Decode) -> tuple[np.ndarray, np.ndarray]:
    """The (images, labels) that `decode` returns, from the cache if it has the key.

    A damaged file is replaced. If several processes start together, one decodes and the others
    wait for it. If the folder cannot be written, a warning says so and nothing is cached.
    """
    path = files.cache_dir() / "decoded" / f"{key}.npz"
    found = _load(path)
    if found is not None:
        return found
    with contextlib.ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(files.locked(path.with_suffix(".lock")))
        except OSError as error:
            warnings.warn(f"cannot cache decoded images in {path.parent}: {error}", stacklevel=2)
            return decode()
        found = _load(path)
        return _decode_to(path, decode) if found is None else found


def _load(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        return arrays.in_npz(path, "images").read(), arrays.in_npz(path, "labels").read()
    except DataError:
        return None  # absent or damaged


def _decode_to(path: pathlib.Path, decode: Decode) -> tuple[np.ndarray, np.ndarray]:
    images, labels = decode()
    try:
        with files.replacing(path) as file:
            np.savez(file, images=images, labels=labels)
    except OSError as error:
        warnings.warn(f"cannot cache decoded images in {path.parent}: {error}", stacklevel=2)
    return images, labels

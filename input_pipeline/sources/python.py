"""Samples that a Python function yields: `python:<file>:<function>`, for ever or until it ends."""

import inspect
import itertools
import logging
import pathlib
import runpy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from drifting.core.errors import did_you_mean
from input_pipeline.decoding import DataError, Decoding, Found, NoSplit, Source
from input_pipeline.space import Arrays, Pixels, Space

log = logging.getLogger(__name__)

MOST_BYTES = 2**32  # of a split that is loaded rather than streamed


def find(rest: str, split: str, options: Decoding, kind: type[Space] = Pixels) -> Found:
    """The samples of a function, which is run with the rights of this process.

    It yields dicts with `image`, [size, size, channels], and `label`, a place in CLASS_NAMES of
    its file; without CLASS_NAMES there is one class, and no label is needed. It may take `split`,
    without which all is the split "train", and `start`, the position of the first sample to
    yield, without which a resumed run reads and drops what comes before.
    """
    usage = f"{_SCHEMES[kind]}:{rest}"
    function, names = _load(usage, rest)
    parameters = inspect.signature(function).parameters
    if split != "train" and "split" not in parameters:
        raise NoSplit(
            f"{usage} has no split {split!r}: its function takes no `split`; add it as a parameter"
        )
    arguments = {"split": split} if "split" in parameters else {}

    def samples(start: int) -> Iterator[tuple[np.ndarray, int]]:
        if "start" in parameters:
            found, skipped = function(**arguments, start=start), 0
        else:
            found, skipped = function(**arguments), start
        rows = enumerate(_guarded(usage, found), start=start - skipped)
        if skipped:
            log.info("%s takes no `start`: %d samples are read and dropped", usage, skipped)
            for _ in tqdm(itertools.islice(rows, skipped), "skip", skipped, unit="sample"):
                pass
        return (_checked(f"{usage}, sample {row}", sample, kind(options.shape), len(names))
                for row, sample in rows)  # fmt: skip

    return Found(None, names, lambda: _read_all(usage, samples(0)), samples=samples)


def _load(usage: str, rest: str) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """The function, and the names of the classes."""
    file, _, name = rest.rpartition(":")
    path = pathlib.Path(file).expanduser()
    if not file or not path.is_file():
        raise DataError(f"{usage}: no file {file!r}; write python:<file>:<function>")
    try:
        defined = runpy.run_path(str(path))
    except Exception as error:  # whatever the file does wrong
        raise DataError(f"{path}: {type(error).__name__}: {error}; correct the file") from error
    functions = {k: v for k, v in defined.items() if inspect.isfunction(v)}
    if name not in functions:
        raise DataError(f"{path} defines no function {name!r}{did_you_mean(name, functions)}")
    names = defined.get("CLASS_NAMES", ("all",))
    if not isinstance(names, tuple | list) or not all(isinstance(n, str) for n in names):
        raise DataError(f"{path}: CLASS_NAMES = {names!r} is not a list of names; correct it")
    return functions[name], tuple(names)


def _guarded(usage: str, found: Any) -> Iterator[Any]:
    """What is found, where an error of the function is one line."""
    try:
        yield from found
    except Exception as error:
        raise DataError(
            f"{usage}: {type(error).__name__}: {error}; correct the function"
        ) from error


def _checked(where: str, sample: Any, space: Space, classes: int) -> tuple[np.ndarray, int]:
    """The values and the label of one sample; DataError if they are not of the space."""
    if not isinstance(sample, dict) or "image" not in sample:
        raise DataError(f"{where} is no dict with `image` (and `label`); correct the function")
    values, label = np.asarray(sample["image"]), sample.get("label", 0 if classes == 1 else None)
    if values.dtype != space.dtype or values.shape != space.shape:
        raise DataError(
            f"{where}: the image is {values.dtype} {values.shape}, expected "
            f"{np.dtype(space.dtype)} {space.shape}; change config.data.image_size and "
            f"config.data.channels, or the function. python: yields uint8, python_arrays: float32"
        )
    if not np.all(np.isfinite(values)):
        raise DataError(f"{where} has NaN or infinite values; correct the function")
    if label is None or np.ndim(label) or int(label) != label or not 0 <= label < classes:
        raise DataError(
            f"{where}: label {label!r} is no place in the {classes} CLASS_NAMES of the file; "
            "correct one of them"
        )
    return values, int(label)


def _read_all(
    usage: str, samples: Iterator[tuple[np.ndarray, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """All samples of a function that ends: values [N, ...] and labels [N]."""
    images, labels, size = [], [], 0
    for values, label in tqdm(samples, f"reading {usage}", unit="sample", mininterval=2.0):
        images.append(values)
        labels.append(label)
        size += values.nbytes
        if size > MOST_BYTES:
            raise DataError(
                f"{usage} goes on after {len(images)} samples, {MOST_BYTES >> 30} GiB: what does "
                "not end can only be trained on as a stream, so set config.data.streaming=True; to "
                "score, let the function end for another `split`"
            )
    return np.array(images), np.asarray(labels, np.int64)


def _find_arrays(rest: str, split: str, options: Decoding) -> Found:
    return find(rest, split, options, Arrays)


_SCHEMES = {Pixels: "python", Arrays: "python_arrays"}
# Images, uint8 with 1 or 3 channels, and float32 values with any number of channels, which a model
# sees as they are.
SOURCES = (
    Source("python:<file>:<function>", find, streams=True),
    Source("python_arrays:<file>:<function>", _find_arrays, kind=Arrays, streams=True),
)

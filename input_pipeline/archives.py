"""Arrays that someone else has saved: one npz file, or npy files in a folder."""

import pathlib
import pickle
import zipfile

import numpy as np

from input_pipeline import cache
from input_pipeline.decoding import DataError, Decoding, Found, Records


def find_npz(rest: str, split: str, options: Decoding) -> Found:
    """Arrays `<split>_images` and `<split>_labels`, or `images` and `labels` as `train`."""
    path = pathlib.Path(rest).expanduser()
    if not path.is_file():
        raise DataError(f"no file {path}; config.data.source = 'npz:<path>' names an npz file")
    try:
        with np.load(path) as arrays:
            keys = tuple(arrays.files)
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile, pickle.PickleError) as error:
        raise DataError(f"{path} cannot be read as an npz file: {error}") from error
    prefix = f"{split}_" if f"{split}_images" in keys else ""
    if f"{prefix}images" not in keys or (not prefix and split != "train"):
        raise DataError(
            f"{path} has no split {split!r}: it needs the arrays '{split}_images' and "
            f"'{split}_labels' (or 'images' and 'labels' for 'train'), and holds {list(keys)}"
        )
    with np.load(path) as arrays:
        labelled = f"{prefix}labels" in keys
        labels = arrays[f"{prefix}labels"] if labelled else np.zeros(len(arrays[f"{prefix}images"]))

    def decode():
        with np.load(path) as arrays:
            images = _checked(path, arrays[f"{prefix}images"], labels)
        return options.fit_arrays(images, str(path)), labels

    identity = [str(path.resolve()), *cache.stamp(path)]
    return Found(identity, numbers(labels), decode)


def find_npy(rest: str, split: str, options: Decoding) -> Found:
    """`<split>_images.npy` and `<split>_labels.npy`; the images stay on disk, memory-mapped."""
    root = pathlib.Path(rest).expanduser()
    paths = [root / f"{split}_images.npy", root / f"{split}_labels.npy"]
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"no file {path}; config.data.source = 'npy:<folder>' names a folder with "
                "<split>_images.npy (uint8 [N, H, W, C]) and <split>_labels.npy (integers [N])"
            )
    labels = mapped_labels(paths[1])
    images = _checked(paths[0], mapped(paths[0]), labels)

    def read(row: int) -> tuple[np.ndarray, int]:
        where = f"{paths[0]}, row {row}"
        return options.fit_arrays(images[row][None], where)[0], int(labels[row])

    return Found(
        [[str(path.resolve()), *cache.stamp(path)] for path in paths],
        numbers(labels),
        lambda: (options.fit_arrays(images, str(paths[0])), labels),
        cached=not options.keeps(images.shape[1:]),
        records=Records(len(images), read),
    )


def mapped_labels(path: pathlib.Path) -> np.ndarray:
    """Memory-mapped integers [N] from 0, at least one."""
    labels = mapped(path)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: labels are {labels.dtype} {labels.shape}, expected ints [N]")
    if len(labels) == 0:
        raise DataError(f"{path} holds no labels; save at least one record and its label")
    if labels.min() < 0 or labels.max() >= 2**31:
        raise DataError(f"{path}: labels must be at least 0 and fit int32; number them from 0")
    return labels


def mapped(path: pathlib.Path) -> np.ndarray:
    """A memory-mapped npy file. Unlike np.load, which guesses the format, it never unpickles."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as an npy file of numbers: {error}. Save it again with np.save"
        ) from error


def _checked(path: pathlib.Path, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The images as uint8 [N, H, W, C], one for each label."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{path}: images are {images.dtype} {images.shape}, expected uint8 [N, H, W, C]"
        )
    if len(images) != len(labels):
        raise DataError(f"{path}: {len(images)} images but {len(labels)} labels")
    return images[..., None] if images.ndim == 3 else images


def numbers(labels: np.ndarray) -> tuple[str, ...]:
    """Names of classes that have none: 0 to the highest label."""
    return tuple(str(k) for k in range(int(labels.max(initial=0)) + 1))

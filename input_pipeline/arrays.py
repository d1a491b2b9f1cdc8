"""Arrays from files written by others: opened without unpickling, and checked."""

import pathlib

import numpy as np

from input_pipeline import cache
from input_pipeline.decoding import DataError, numbered_classes


def mapped(path: pathlib.Path) -> np.ndarray:
    """A memory-mapped npy file. Unlike np.load, which guesses the format, it never unpickles."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as an npy file of numbers: {error}. Save it again with np.save"
        ) from error


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


def checked_images(path: pathlib.Path, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The images as uint8 [N, H, W, C], one for each label."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{path}: images are {images.dtype} {images.shape}, expected uint8 [N, H, W, C]; "
            "save them in this form"
        )
    if len(images) != len(labels):
        raise DataError(
            f"{path}: {len(images)} images but {len(labels)} labels; save one label per image"
        )
    return images[..., None] if images.ndim == 3 else images  # [N, H, W, C]


def classes_of(labels: np.ndarray) -> tuple[str, ...]:
    """Names of the classes 0 to the highest label."""
    return numbered_classes(int(labels.max(initial=0)) + 1)


def identity(path: pathlib.Path) -> list:
    """JSON values that change when the file is another or is written again."""
    return [str(path.resolve()), *cache.stamp(path)]

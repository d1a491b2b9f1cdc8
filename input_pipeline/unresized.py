"""Sets of samples to be scored as they are: a folder of images, or one npz file."""

import dataclasses
import os
import pathlib

import numpy as np

from input_pipeline import arrays, image_files
from input_pipeline.decoding import DataError
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Pixels, Points

IMAGES, POINTS = ("images", "arr_0"), "points"  # names of arrays


def load(path: str | os.PathLike) -> ImageSet:
    """All images of a folder or of an npz file in their own size, as one class.

    The images of a folder are uint8 [N, H, W, 3]. An npz file holds `images`, or `arr_0`, uint8
    [N, H, W] or [N, H, W, C], or `points`, float32 [N, D], as `sample.py --out X.npz` writes them.

    Raises:
      DataError: nothing there, or what cannot be read or has another form; it is named.
    """
    path = pathlib.Path(path).expanduser()
    if path.suffix.lower() != ".npz" or path.is_dir():
        return image_files.load_unresized(path)
    if not path.is_file():
        raise DataError(f"no file {path}; name an npz file or a folder of images")
    names = arrays.npz_names(path)
    for name in (*IMAGES, POINTS):
        if name in names:
            stored = arrays.in_npz(path, name)
            values = _points(stored) if name == POINTS else _images(stored)
            space = (Points if name == POINTS else Pixels)(values.shape[1:])
            labels = np.zeros(len(values), np.int32)
            return ImageSet(values, labels, ("all",), str(path), "all", space)
    raise DataError(
        f"{path} holds no array 'images' (uint8 [N, H, W, C]) or 'points' (float32 [N, D]), but "
        f"{names}; save one with np.savez(..., images=images)"
    )


def with_channels(images: ImageSet, channels: int) -> ImageSet:
    """The same images with 1 or 3 channels, of which grey images have equal ones.

    Points are returned as they are.

    Raises:
      DataError: one channel is asked for, and some images are in colour.
    """
    space = images.space
    if not isinstance(space, Pixels) or space.channels == channels:
        return images
    if channels == 1 and not is_grey(images):
        raise DataError(
            f"{images.source} has images in colour, and the encoder was trained on grey ones: "
            "convert them, or use other --features"
        )
    values = np.repeat(images.images[..., :1], channels, axis=-1)
    return dataclasses.replace(images, images=values, space=Pixels(values.shape[1:]))


def is_grey(images: ImageSet) -> bool:
    """Whether these are images of one channel, or of equal ones."""
    values = images.images
    return isinstance(images.space, Pixels) and bool((values == values[..., :1]).all())


def _images(stored: arrays.Stored) -> np.ndarray:
    arrays.check_images(stored.where, stored.shape, stored.dtype)
    return arrays.with_channels(stored.read())


def _points(stored: arrays.Stored) -> np.ndarray:
    found = f"{stored.where}: points are {stored.dtype} {stored.shape}, expected float32 [N, D]"
    if len(stored.shape) != 2 or 0 in stored.shape or stored.dtype.kind != "f":
        raise DataError(f"{found}; save them in this form")
    values = stored.read().astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{stored.where}: some points are NaN or infinite; remove them")
    return values

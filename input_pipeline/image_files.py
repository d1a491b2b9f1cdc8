"""Image files as records, and whole folders of them in their own size."""

import os
import pathlib
import warnings

import numpy as np

from input_pipeline import cache, picture
from input_pipeline.decoding import DataError, Decoding, Found, Records, progress
from input_pipeline.image_set import ImageSet
from input_pipeline.listing import Listing
from input_pipeline.space import Pixels


def of_files(
    root: pathlib.Path,
    files: list[tuple[pathlib.Path, int]],
    class_names: tuple[str, ...],
    options: Decoding,
) -> Found:
    """The split made of (file below `root`, label) pairs."""

    def read(row: int) -> tuple[np.ndarray, int]:
        path, label = files[row]
        return options.fit_picture(picture.read(path), path), label

    return Found(
        cache.identity(root, [path for path, _ in files]),
        class_names,
        lambda: _decode(files, options),
        records=Records(len(files), read),
    )


def load_unresized(path: str | os.PathLike) -> ImageSet:
    """All images of a folder in their own size, uint8 [N, H, W, 3].

    Which files these are and how they are read is as for training.

    Raises:
      DataError: no images, an unreadable one, or sizes that differ; the files are named.
    """
    root = pathlib.Path(path).expanduser()
    if not root.is_dir():
        raise DataError(f"no folder {root}; name a folder of images")
    files = [file for _, images in Listing(root).by_class() for file in images]
    images = []
    for file in progress(files, f"reading {root.name}"):
        images.append(np.asarray(picture.read(file).convert("RGB")))
        if images[-1].shape != images[0].shape:
            raise DataError(
                f"{files[0]} is {_size(images[0])}, {file} is {_size(images[-1])}: bring all "
                "images of a folder to one size first"
            )
    labels, space = np.zeros(len(files), np.int32), Pixels(images[0].shape)
    return ImageSet(np.stack(images), labels, ("all",), str(root), "all", space)


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _decode(
    files: list[tuple[pathlib.Path, int]], options: Decoding
) -> tuple[np.ndarray, np.ndarray]:
    images, labels, errors = [], [], []
    for path, label in progress(files, "decoding"):
        try:
            images.append(options.fit_picture(picture.read(path), path))
            labels.append(label)
        except DataError as error:
            if options.on_corrupt == "error":
                advice = "set config.data.on_corrupt='skip' to leave such images out"
                raise DataError(f"{error}, or {advice}") from error
            errors.append(str(error))
    if errors:
        shown = ". ".join(errors[:3]) + (". ..." if len(errors) > 3 else "")
        warnings.warn(f"left out {len(errors)} unreadable images: {shown}", stacklevel=2)
    if not images:
        raise DataError("none of the images can be read; see the warning above for their names")
    return np.stack(images), np.asarray(labels)

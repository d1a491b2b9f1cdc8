"""Image files as records, and whole folders of them in their own size."""

import contextlib
import os
import pathlib
import re
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image

from input_pipeline import cache, fit
from input_pipeline.decoding import DataError, Decoding, Found, Records, progress
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Pixels

EXTENSIONS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}


def of_files(
    root: pathlib.Path,
    files: list[tuple[pathlib.Path, int]],
    class_names: tuple[str, ...],
    options: Decoding,
) -> Found:
    """The split made of (file below `root`, label) pairs."""

    def read(row: int) -> tuple[np.ndarray, int]:
        path, label = files[row]
        return _read(path, options), label

    return Found(
        cache.identity(root, [path for path, _ in files]),
        class_names,
        lambda: _decode(files, options),
        records=Records(len(files), read),
    )


def load_unresized(path: str | os.PathLike) -> ImageSet:
    """All images of a folder and its class sub-folders in their own size, uint8 [N, H, W, 3].

    Raises:
      DataError: no images, an unreadable one, or sizes that differ; the files are named.
    """
    root = pathlib.Path(path).expanduser()
    if not root.is_dir():
        raise DataError(f"no folder {root}; name a folder of images")
    folders = [root, *folders_in(root)]
    files = require_images(root, [file for folder in folders for file in images_in(folder)])
    images = []
    for file in progress(files, f"reading {root.name}"):
        with _opened(file, "Remove it") as image:
            images.append(np.asarray(image.convert("RGB")))
        if images[-1].shape != images[0].shape:
            raise DataError(
                f"{files[0]} is {_size(images[0])}, {file} is {_size(images[-1])}: bring all "
                "images of a folder to one size first"
            )
    labels, space = np.zeros(len(files), np.int32), Pixels(images[0].shape)
    return ImageSet(np.stack(images), labels, ("all",), str(root), "all", space)


def images_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """The image files of a folder, 2.png before 10.png."""
    files = (f for f in folder.iterdir() if f.suffix.lower() in EXTENSIONS and f.is_file())
    return sorted(files, key=_natural)


def folders_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """The sub-folders of a folder, in the same order."""
    return sorted((d for d in folder.iterdir() if d.is_dir()), key=_natural)


def require_images(root: pathlib.Path, files: list[pathlib.Path]) -> list[pathlib.Path]:
    """The files themselves; DataError for an empty list."""
    if not files:
        known = ", ".join(sorted(EXTENSIONS))
        raise DataError(f"no images in {root}; name a folder with files that end in {known}")
    return files


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _natural(path: pathlib.Path) -> list:
    """A sort key by which 2.png comes before 10.png."""
    return [int(p) if p.isdigit() else p.lower() for p in re.split(r"(\d+)", path.name)]


@contextlib.contextmanager
def _opened(path: pathlib.Path, advice: str) -> Iterator[Image.Image]:
    """The image in a file; what cannot be read or converted is a DataError with the advice."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"cannot read image {path}: {error}. {advice}") from error


def _read(path: pathlib.Path, options: Decoding) -> np.ndarray:
    advice = (
        "Remove it, or, unless the data are streamed, set config.data.on_corrupt='skip' to leave "
        "such images out"
    )
    with _opened(path, advice) as image:
        return fit.fit_image(image, options.size, options.channels, options.fit)


def _decode(
    files: list[tuple[pathlib.Path, int]], options: Decoding
) -> tuple[np.ndarray, np.ndarray]:
    images, labels, corrupt = [], [], []
    for path, label in progress(files, "decoding"):
        try:
            images.append(_read(path, options))
            labels.append(label)
        except DataError:
            if options.on_corrupt == "error":
                raise
            corrupt.append(str(path))
    if corrupt:
        shown = ", ".join(corrupt[:5]) + (", ..." if len(corrupt) > 5 else "")
        warnings.warn(f"left out {len(corrupt)} unreadable images: {shown}", stacklevel=2)
    if not images:
        raise DataError("none of the images can be read; see the warning above for their names")
    return np.stack(images), np.asarray(labels)

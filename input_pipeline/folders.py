"""Folders of image files, flat or in class sub-folders."""

import os
import pathlib
import re
import warnings

import numpy as np
from PIL import Image

from input_pipeline import cache, fit
from input_pipeline.decoding import DataError, Decoding, Found, Records, progress
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Pixels

EXTENSIONS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}


def find(rest: str, split: str, options: Decoding) -> Found:
    """`<path>/<split>` where it exists, else the path itself as `train`."""
    root = pathlib.Path(rest).expanduser()
    if not root.is_dir():
        raise DataError(f"no folder {root}; config.data.source = 'folder:<path>' names a folder")
    if (root / split).is_dir():
        root = root / split
    elif split != "train":
        raise DataError(f"{root} has no folder {split!r} for that split; it serves 'train' alone")
    classes = sorted((d for d in root.iterdir() if d.is_dir()), key=_natural)
    groups = [(d.name, images_in(d)) for d in classes]
    groups = [(name, files) for name, files in groups if files] or [("all", images_in(root))]
    files = [(path, label) for label, (_, paths) in enumerate(groups) for path in paths]
    if not files:
        raise DataError(f"no images in {root} ({', '.join(sorted(EXTENSIONS))} are looked for)")
    names = tuple(name for name, _ in groups)
    return of_files(root, files, names, options)


def of_files(
    root: pathlib.Path,
    files: list[tuple[pathlib.Path, int]],
    class_names: tuple[str, ...],
    options: Decoding,
) -> Found:
    """(file below `root`, label) pairs as a split."""
    identity = [[str(p.relative_to(root)), *cache.stamp(p)] for p, _ in files]

    def read(row: int) -> tuple[np.ndarray, int]:
        path, label = files[row]
        return _read(path, options), label

    return Found(
        identity,
        class_names,
        lambda: _decode_files(files, options),
        records=Records(len(files), read),
    )


def load_as_they_are(path: str | os.PathLike) -> ImageSet:
    """All images of a folder and its class sub-folders in their own size, uint8 [N, H, W, 3].

    Raises:
      DataError: no images, an unreadable one, or sizes that differ; the files are named.
    """
    root = pathlib.Path(path).expanduser()
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    folders = [root, *sorted((d for d in root.iterdir() if d.is_dir()), key=_natural)]
    files = [file for folder in folders for file in images_in(folder)]
    if not files:
        raise DataError(f"no images in {root} ({', '.join(sorted(EXTENSIONS))} are looked for)")
    images = []
    for file in progress(files, f"reading {root.name}"):
        try:
            with Image.open(file) as image:
                images.append(np.asarray(image.convert("RGB")))
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"cannot read image {file}: {error}; remove it") from error
        if images[-1].shape != images[0].shape:
            raise DataError(
                f"{files[0]} is {_size(images[0])}, {file} is {_size(images[-1])}: bring all "
                "images of a folder to one size first"
            )
    key = cache.digest([[str(f.relative_to(root)), *cache.stamp(f)] for f in files])
    labels, space = np.zeros(len(files), np.int32), Pixels(images[0].shape)
    return ImageSet(np.stack(images), labels, ("all",), str(root), "all", key, space)


def images_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """The image files of a folder, 2.png before 10.png."""
    files = (f for f in folder.iterdir() if f.suffix.lower() in EXTENSIONS and f.is_file())
    return sorted(files, key=_natural)


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _natural(path: pathlib.Path) -> list:
    """Sorts 2.png before 10.png."""
    return [int(p) if p.isdigit() else p.lower() for p in re.split(r"(\d+)", path.name)]


def _read(path: pathlib.Path, options: Decoding) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return fit.fit_image(image, options.size, options.channels, options.fit)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"cannot read image {path}: {error}. Remove it, or set "
            "config.data.on_corrupt='skip' to pass such images over (where none are streamed)"
        ) from error


def _decode_files(
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
        warnings.warn(f"passed over {len(corrupt)} unreadable images: {shown}", stacklevel=2)
    if not images:
        raise DataError("not one readable image was found; see the warnings above")
    return np.stack(images), np.asarray(labels)

"""The folder of a translation: which files it gets, which it has, and how they are written."""

import contextlib
import errno
import logging
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from PIL import Image, PngImagePlugin
from tqdm import tqdm

from drifting.core import files
from drifting.core.errors import UserError
from drifting.pictures import formats
from drifting.runs.folder import NO_LOCKS, WorkdirError
from input_pipeline.decoding import DataError
from input_pipeline.listing import Listing

log = logging.getLogger(__name__)

SHOWN = 10  # names in a message


def targets(
    folder: pathlib.Path, out: pathlib.Path, suffix: str
) -> dict[pathlib.Path, pathlib.Path]:
    """The file in `out` of each image's translation, by the path of the image in `folder`.

    Raises:
      DataError: there are no images, or two have the same name but for the suffix or the folder.
      WorkdirError: `out` is in the folder.
    """
    if not folder.is_dir():
        raise DataError(f"--translate {folder}: no such folder; name a folder of images")
    _check_apart(folder, out)
    paths = [path for _, images in Listing(folder).by_class() for path in images]
    by_name: dict[str, pathlib.Path] = {}
    for path in paths:
        name = f"{path.stem}.{suffix}"
        if name in by_name:
            raise DataError(
                f"{by_name[name]} and {path} would both become {out / name}; rename or move one"
            )
        by_name[name] = path
    return {path: out / name for name, path in by_name.items()}


def _check_apart(folder: pathlib.Path, out: pathlib.Path) -> None:
    inside, around = out.resolve(), folder.resolve()
    if inside == around or around in inside.parents:
        raise WorkdirError(
            f"--out {out} is the folder of the images or in it ({folder}), so that translations "
            "would be taken for images to translate; choose a folder elsewhere"
        )


@contextlib.contextmanager
def alone(out: pathlib.Path) -> Iterator[None]:
    """Creates the folder, and keeps other processes from translating to it.

    The lock is on the folder itself: a lock file would be among the translations.

    Raises:
      WorkdirError: it cannot be written, or another process translates to it.
    """
    try:
        files.require_writable(out)
    except OSError as error:
        raise WorkdirError(
            f"cannot write to --out {out}: {error.strerror}; choose another place"
        ) from error
    descriptor = os.open(out, os.O_RDONLY)
    try:
        _lock(out, descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(out: pathlib.Path, descriptor: int) -> None:
    try:
        files.lock(descriptor, wait=False)
    except BlockingIOError as error:
        raise WorkdirError(
            f"another process is translating to --out {out}; wait for it, or choose another folder"
        ) from error
    except OSError as error:
        if error.errno not in (*NO_LOCKS, errno.EBADF):  # NFS locks only what is open for writing
            raise
        log.warning("%s is on a file system without locks: use it only once at a time", out)


def done(
    out: pathlib.Path, expected: dict[pathlib.Path, pathlib.Path], mark: Callable[[bytes], str]
) -> set[pathlib.Path]:
    """The images whose translations are in `out`, which may hold nothing else.

    Removes what a killed process left half written.

    Args:
      expected: of `targets`.
      mark: (content of an image's file) -> the comment of its translation.

    Raises:
      WorkdirError: it holds something else, or other translations.
    """
    there = {entry.name for entry in os.scandir(out)}
    names = {target.name for target in expected.values()}
    for name in there:
        half = re.fullmatch(r"\.(.*)\.\d+\.tmp", name)  # files.replacing
        if half and half[1] in names:
            (out / name).unlink()
    candidates = [(path, target) for path, target in expected.items() if target.name in there]
    bar = tqdm(candidates, desc="checking", unit="img", mininterval=1.0, leave=False)
    finished = {path for path, target in bar if _is_of(target, path, mark)}
    others = {name for name in there if not name.startswith(".")}
    others -= {expected[path].name for path in finished}
    if others:
        raise WorkdirError(
            f"--out {out} holds {some(sorted(others))}: no translations of these images by this "
            "checkpoint with these settings; choose another folder, or remove them"
        )
    return finished


def _is_of(target: pathlib.Path, path: pathlib.Path, mark: Callable[[bytes], str]) -> bool:
    """Whether a file is the translation of the image at `path`."""
    try:
        with Image.open(target, formats=["PNG", "JPEG"]) as image:
            found = image.info.get("comment")  # of a JPEG it is bytes
        return found in (expected := mark(content(path)), expected.encode())
    except (UserError, OSError, ValueError, SyntaxError):  # no picture, or a damaged one
        return False


def content(path: pathlib.Path) -> bytes:
    """The bytes of an image's file; UserError if the system cannot read it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read image {path}: {error.strerror}") from error


def save(path: pathlib.Path, image: np.ndarray, mark: str) -> None:
    """Writes uint8 [H, W, C] atomically, with a comment."""
    shown = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if path.suffix == ".png":
        text = PngImagePlugin.PngInfo()
        text.add_text("comment", mark)
        comment = {"pnginfo": text}
    else:
        comment = {"comment": mark.encode()}
    formats.save(path, lambda file, kind, options: shown.save(file, kind, **options, **comment))


def some(names: Iterable[object]) -> str:
    """The first names of a list, for a message."""
    names = [str(name) for name in names]
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")

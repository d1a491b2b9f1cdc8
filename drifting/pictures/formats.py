"""The file formats of pictures: PNG, JPEG or WebP, by the suffix of a path."""

import io
import os
import pathlib
from collections.abc import Callable
from typing import IO, Any

from drifting.core.errors import UserError
from drifting.core.files import write_atomically

FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_OPTIONS = {
    "png": {"optimize": True},
    "jpeg": {"quality": 95, "subsampling": 0},
    "webp": {"lossless": True},
}


class PictureError(UserError):
    """A picture cannot be written in the format that its path asks for."""


def suffix_of(path: str | os.PathLike) -> str:
    """The suffix in lower case: .PNG asks for the same as .png."""
    return pathlib.Path(path).suffix.lower()


def save(path: str | os.PathLike, write: Callable[[IO[bytes], str, dict[str, Any]], None]) -> None:
    """Saves a picture, atomically.

    Args:
      write: (file, name of the format, Pillow's options) -> None, writes the picture.

    Raises:
      PictureError: the suffix is none of FORMATS, or the picture is too large for the format.
    """
    kind = FORMATS.get(suffix_of(path))
    if kind is None:
        raise PictureError(f"{path}: pictures are saved as {', '.join(FORMATS)}; choose one")
    content = io.BytesIO()
    try:
        write(content, kind, _OPTIONS[kind])
    except (ValueError, OSError) as error:
        raise PictureError(f"{path} cannot be written: {error}; choose .png") from error
    write_atomically(path, content.getvalue())

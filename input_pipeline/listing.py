"""Which files of a folder are data, and one warning about those that are not."""

import collections
import os
import pathlib
import re
import warnings
from collections.abc import Iterable, Iterator

from input_pipeline import picture
from input_pipeline.decoding import DataError

# Why something is left out.
UNKNOWN = "files without the extension of a readable image"
IRREGULAR = "links that lead nowhere, and other irregular files"
BESIDE = "images next to the class folders"
DEEPER = "images in deeper folders"
EMPTY = "class folders without images"


class Listing:
    """Lists the image files in a folder and its sub-folders, and counts what it leaves out.

    Names that begin with a dot, and `__MACOSX`, are passed over and not counted: systems, editors
    and notebooks leave such files behind.
    """

    def __init__(self, root: pathlib.Path):
        self._root = root
        self._counts = collections.Counter()  # by reason
        self._examples = {}

    def by_class(self) -> list[tuple[str, list[pathlib.Path]]]:
        """The name and the images of each sub-folder with images; without any, `all` and its own.

        Warns of what is left out.

        Raises:
          DataError: there are no images, or a folder cannot be read.
        """
        own, folders = self._scan(self._root)
        found = [(folder, self.images(folder)) for folder in folders]
        classes = [(readable(folder.name), images) for folder, images in found if images]
        if classes:
            self._leave_out(BESIDE, own)
            self._leave_out(EMPTY, (folder for folder, images in found if not images))
        elif not own:
            left_out = f" (left out: {self})" if self._counts else ""
            raise DataError(
                f"no images in {self._root} or in the folders directly in it{left_out}; name a "
                "folder of images, or one with a sub-folder of images per class"
            )
        self.warn()
        return classes or [("all", own)]

    def images(self, folder: pathlib.Path) -> list[pathlib.Path]:
        """The images directly in a folder, 2.png before 10.png."""
        images, folders = self._scan(folder)
        for deeper in folders:
            self._leave_out(DEEPER, _images_below(deeper))
        return images

    def warn(self) -> None:
        """Warns of all that has been left out, if anything."""
        if self._counts:
            warnings.warn(f"left out of {self._root}: {self}", stacklevel=3)

    def __str__(self) -> str:
        counted = (
            f"{reason}: {count} (such as {self._examples[reason].relative_to(self._root)})"
            for reason, count in self._counts.items()
        )
        return "; ".join(counted)

    def _scan(self, folder: pathlib.Path) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
        """The images and the folders directly in a folder."""
        images, folders = [], []
        for entry in _entries(folder):
            path = folder / entry.name
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # a link that leads to itself
                is_folder = is_file = False
            if is_folder:
                folders.append(path)
            elif not is_file:
                self._leave_out(IRREGULAR, [path])
            elif _is_image(entry.name):
                images.append(path)
            else:
                self._leave_out(UNKNOWN, [path])
        return images, folders

    def _leave_out(self, reason: str, paths: Iterable[pathlib.Path]) -> None:
        for path in paths:
            self._counts[reason] += 1
            self._examples.setdefault(reason, path)


def readable(name: str) -> str:
    """A file name as text that can be printed and drawn: bytes that are no UTF-8 become \\xNN."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _entries(folder: pathlib.Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if _is_data(e.name)), key=lambda e: _natural(e.name))
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error


def _images_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The images in a folder and in all folders below it; links are not followed."""
    for inside, folders, names in os.walk(folder):
        folders[:] = sorted(filter(_is_data, folders))
        yield from (pathlib.Path(inside, n) for n in sorted(names) if _is_data(n) and _is_image(n))


def _is_data(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in picture.EXTENSIONS


def _natural(name: str) -> tuple:
    """A sort key by which 2.png comes before 10.png; no two names are equal."""
    parts = re.split(r"(\d+)", name)
    return [int(p) if p.isdecimal() else p.lower() for p in parts], name

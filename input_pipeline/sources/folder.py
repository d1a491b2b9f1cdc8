"""A folder of image files, flat or in class sub-folders."""

import pathlib

from input_pipeline import image_files
from input_pipeline.decoding import DataError, Decoding, Found, NoSplit, Source
from input_pipeline.listing import Listing


def find(rest: str, split: str, options: Decoding) -> Found:
    """`<path>/<split>` if it exists, else the path itself as `train`."""
    root = pathlib.Path(rest).expanduser()
    if not root.is_dir():
        raise DataError(f"no folder {root}; config.data.source = 'folder:<path>' names a folder")
    if (root / split).is_dir():
        root = root / split
    elif split != "train":
        raise NoSplit(
            f"{root} has no sub-folder {split!r}, so its only split is 'train'; add the sub-folder "
            "or choose 'train'"
        )
    classes = Listing(root).by_class()
    files = [(path, label) for label, (_, paths) in enumerate(classes) for path in paths]
    names = tuple(name for name, _ in classes)
    return image_files.of_files(root, files, names, options)


# Images of any size: class sub-folders or flat, in `<path>/train` and `<path>/test` or in `<path>`.
SOURCES = (Source("folder:<path>", find, streams=True),)

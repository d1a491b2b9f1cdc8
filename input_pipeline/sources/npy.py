"""A folder with an npy file of images and one of labels for each split."""

import pathlib

import numpy as np

from input_pipeline import arrays, cache
from input_pipeline.decoding import DataError, Decoding, Found, Records, Source


def find(rest: str, split: str, options: Decoding) -> Found:
    """`<split>_images.npy` and `<split>_labels.npy`; the images stay on disk, memory-mapped."""
    return in_folder(pathlib.Path(rest).expanduser(), "npy", "", split, options)


def in_folder(root: pathlib.Path, scheme: str, prefix: str, split: str, options: Decoding) -> Found:
    """The two files of a split, whose names begin with `prefix`; for the source `scheme`."""
    paths = [root / f"{prefix}{split}_{what}.npy" for what in ("images", "labels")]
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"no file {path}; config.data.source = '{scheme}:<folder>' names a folder with "
                f"{prefix}<split>_images.npy (uint8 [N, H, W, C]) and {prefix}<split>_labels.npy "
                "(integers [N])"
            )
    stored = arrays.in_npy(paths[0])
    arrays.check_images(stored.where, stored.shape, stored.dtype)
    most = arrays.most_rows(map(arrays.in_npy, root.glob(f"{prefix}*_images.npy")))
    labels = arrays.check_labels(arrays.in_npy(paths[1]), stored.shape[0], most)
    images = arrays.with_channels(stored.read())

    def read(row: int) -> tuple[np.ndarray, int]:
        where = f"{paths[0]}, row {row}"
        return options.fit_arrays(images[row][None], where)[0], int(labels[row])

    return Found(
        None if options.keeps(images.shape[1:]) else cache.identity(root, paths),
        arrays.classes_of(labels),
        lambda: (options.fit_arrays(images, str(paths[0])), labels),
        records=Records(len(images), read),
    )


# `<split>_images.npy` (uint8 [N, H, W, C]) and `<split>_labels.npy` (integers [N]), memory-mapped.
SOURCES = (Source("npy:<folder>", find, streams=True),)

"""A folder with an npy file of images and one of labels for each split."""

import pathlib

import numpy as np

from input_pipeline import arrays, cache
from input_pipeline.decoding import DataError, Decoding, Found, Records, Source


def find(rest: str, split: str, options: Decoding) -> Found:
    """`<split>_images.npy` and `<split>_labels.npy`; the images stay on disk, memory-mapped."""
    root = pathlib.Path(rest).expanduser()
    paths = [root / f"{split}_images.npy", root / f"{split}_labels.npy"]
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"no file {path}; config.data.source = 'npy:<folder>' names a folder with "
                "<split>_images.npy (uint8 [N, H, W, C]) and <split>_labels.npy (integers [N])"
            )
    stored = arrays.in_npy(paths[0])
    arrays.check_images(stored.where, stored.shape, stored.dtype)
    most = arrays.most_rows(map(arrays.in_npy, root.glob("*_images.npy")))
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

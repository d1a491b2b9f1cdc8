"""One npz file with the arrays of one or more splits."""

import pathlib

import numpy as np

from input_pipeline import arrays, cache
from input_pipeline.decoding import DataError, Decoding, Found, NoSplit, Source


def find(rest: str, split: str, options: Decoding) -> Found:
    """Arrays `<split>_images` and `<split>_labels`, or `images` and `labels` as `train`.

    Without labels, all images are of one class; then the file may hold nothing that could be meant
    as labels.
    """
    path = pathlib.Path(rest).expanduser()
    if not path.is_file():
        raise DataError(f"no file {path}; config.data.source = 'npz:<path>' names an npz file")
    names = arrays.npz_names(path)
    prefix = f"{split}_" if f"{split}_images" in names else ""
    if f"{prefix}images" not in names or (not prefix and split != "train"):
        raise NoSplit(
            f"{path} has no split {split!r}: it needs the arrays '{split}_images' and "
            f"'{split}_labels' (or 'images' and 'labels' for 'train'), and holds {names}"
        )
    images = arrays.in_npz(path, f"{prefix}images")
    arrays.check_images(images.where, images.shape, images.dtype)
    every = [n for n in names if n == "images" or n.endswith("_images")]
    others = set(names).difference(every, (n.removesuffix("images") + "labels" for n in every))
    if f"{prefix}labels" in names:
        most = arrays.most_rows(arrays.in_npz(path, n) for n in every)
        stored = arrays.in_npz(path, f"{prefix}labels")
        labels = arrays.check_labels(stored, images.shape[0], most)
    elif others:
        raise DataError(
            f"{path} has no array '{prefix}labels', but {sorted(others)}; rename the labels, or "
            "save the images alone to train without classes"
        )
    else:
        labels = np.zeros(images.shape[0], np.int32)

    def decode():
        values = arrays.with_channels(images.read())
        return options.fit_arrays(values, str(path)), labels

    identity = None if options.keeps(images.shape[1:]) else cache.identity(path.parent, [path])
    return Found(identity, arrays.classes_of(labels), decode)


# Arrays `images` (uint8 [N, H, W] or [N, H, W, C]) and `labels` (integers [N]), or
# `train_images`, `train_labels`, `test_images`, ...
SOURCES = (Source("npz:<path>", find),)

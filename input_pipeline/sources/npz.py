"""One npz file with the arrays of one or more splits."""

import pathlib
import pickle
import zipfile

import numpy as np

from input_pipeline import arrays
from input_pipeline.decoding import DataError, Decoding, Found, Source


def find(rest: str, split: str, options: Decoding) -> Found:
    """Arrays `<split>_images` and `<split>_labels`, or `images` and `labels` as `train`.

    Without labels, all images are of one class.
    """
    path = pathlib.Path(rest).expanduser()
    if not path.is_file():
        raise DataError(f"no file {path}; config.data.source = 'npz:<path>' names an npz file")
    try:
        with np.load(path) as saved:
            keys = tuple(saved.files)
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile, pickle.PickleError) as error:
        raise DataError(
            f"{path} cannot be read as an npz file: {error}. Save it again with np.savez"
        ) from error
    prefix = f"{split}_" if f"{split}_images" in keys else ""
    if f"{prefix}images" not in keys or (not prefix and split != "train"):
        raise DataError(
            f"{path} has no split {split!r}: it needs the arrays '{split}_images' and "
            f"'{split}_labels' (or 'images' and 'labels' for 'train'), and holds {list(keys)}"
        )
    with np.load(path) as saved:
        labelled = f"{prefix}labels" in keys
        labels = saved[f"{prefix}labels"] if labelled else np.zeros(len(saved[f"{prefix}images"]))

    def decode():
        with np.load(path) as saved:
            images = arrays.checked_images(path, saved[f"{prefix}images"], labels)
        return options.fit_arrays(images, str(path)), labels

    return Found(arrays.identity(path), arrays.classes_of(labels), decode)


# Arrays `images` (uint8 [N, H, W, C]) and `labels` (integers [N]), or `train_images`,
# `train_labels`, `test_images`, ...
SOURCES = (Source("npz:<path>", find),)

"""TensorFlow Datasets folders in array_record format, read without TensorFlow."""

import contextlib
import functools
import os
import pathlib
import socket
from collections.abc import Callable, Iterator

import numpy as np

from drifting.core.errors import did_you_mean
from input_pipeline import arrays, cache, picture
from input_pipeline.decoding import (
    DataError,
    Decoding,
    Found,
    Records,
    Source,
    numbered_classes,
    progress,
    reason_of,
    require_split,
)


def find(name: str, split: str, options: Decoding) -> Found:
    """A split of the data set `name`, which is prepared first if there is a network."""
    with _undamaged(f"tfds:{name}"):
        return _find(name, split, options)


def _find(name: str, split: str, options: Decoding) -> Found:
    builder = _builder(name)
    known = tuple(builder.info.splits)
    require_split(f"tfds:{name}", split, known)
    for feature in ("image", "label"):
        if feature not in builder.info.features:
            raise DataError(
                f"tfds:{name} has no feature {feature!r}, only {', '.join(builder.info.features)}; "
                "choose a data set of labelled images"
            )
    label = builder.info.features["label"]
    names = tuple(label.names) if label.names else numbered_classes(label.num_classes)
    folder = pathlib.Path(builder.data_dir)
    count = builder.info.splits[split].num_examples
    records = Records(count, _reader(builder, split, options))
    decode = functools.partial(_decode, records, f"{builder.name} {split}")
    files = cache.identity(folder, sorted(f for f in folder.iterdir() if f.is_file()))
    return Found(files, names, decode, records=records)


def _builder(name: str):
    """The builder of the data set `name`, prepared."""
    # TFDS reads TFDS_DATA_DIR only when it is imported, so the folder is always passed on.
    import tensorflow_datasets as tfds

    data_dir = os.environ.get("TFDS_DATA_DIR") or None
    try:
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        hint = did_you_mean(name, tfds.list_builders())
        raise DataError(
            f"config.data.source: TensorFlow Datasets has no data set {name!r}{hint}"
        ) from error
    except ValueError as error:
        raise DataError(
            f"tfds:{name} cannot be read as array_record: {error}. Prepare it again in that format"
        ) from error
    if not builder.is_prepared():
        _prepare(builder, name)
    return builder


def _prepare(builder, name: str) -> None:
    where = pathlib.Path(builder.data_dir).parent.parent
    advice = (
        f"tfds:{name} is not prepared in {where}. Run once with a network to prepare it there, or "
        "set TFDS_DATA_DIR to a folder that holds a prepared array_record copy"
    )
    try:
        socket.getaddrinfo("storage.googleapis.com", 443)  # TFDS itself retries for minutes
    except OSError as error:
        raise DataError(f"{advice} (there is no network here)") from error
    try:
        builder.download_and_prepare()
    except Exception as error:  # whatever a mirror, a disk or a builder raises
        raise DataError(f"{advice} (preparing failed: {reason_of(error)})") from error


@contextlib.contextmanager
def _undamaged(where: str) -> Iterator[None]:
    """Files of a data set are read within; whatever TFDS raises for damaged ones is a DataError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{where} cannot be read: {reason_of(error)}. Remove the prepared folder, and prepare "
            "it again or restore it from a copy"
        ) from error


def _reader(builder, split: str, options: Decoding) -> Callable[[int], tuple[np.ndarray, int]]:
    """row -> (image, label); the files are opened when the first row is read.

    Encoded images are decoded here: TFDS does it by OpenCV or by Pillow, as installed, takes the
    numbers of a palette for grey values, and 16 bits modulo 256.
    """
    decoders = _undecoded(builder.info.features["image"])
    rows = functools.cache(lambda: builder.as_data_source(split=split, decoders=decoders))

    def read(row: int) -> tuple[np.ndarray, int]:
        where = f"tfds:{builder.name} {split}, row {row}"
        with _undamaged(where):
            record = rows()[row]
        if decoders:
            image = options.fit_picture(picture.decode(record["image"], where), where)
            return image, int(record["label"])
        images = record["image"][None]
        arrays.check_images(where, images.shape, images.dtype)
        return options.fit_arrays(images, where)[0], int(record["label"])

    return read


def _undecoded(feature) -> dict | None:
    """Tells TFDS to leave images encoded; None for features that are no encoded images."""
    import tensorflow_datasets as tfds

    # TFDS writes float images as PNGs of their bytes, which only it can read.
    encoded = isinstance(feature, tfds.features.Image) and feature.np_dtype != np.float32
    return {"image": tfds.decode.SkipDecoding()} if encoded else None


def _decode(records: Records, name: str) -> tuple[np.ndarray, np.ndarray]:
    rows = progress(range(records.count), f"decoding {name}")
    images, labels = zip(*(records.read(row) for row in rows), strict=True)
    return np.stack(images), np.asarray(labels)


# Any labelled image data set of TensorFlow Datasets, in TFDS_DATA_DIR or its default folder.
SOURCES = (Source("tfds:<name>", find, streams=True),)

"""TensorFlow Datasets folders in array_record format, read without TensorFlow."""

import functools
import hashlib
import os
import pathlib
import socket
from collections.abc import Callable

import numpy as np

from drifting.core.errors import did_you_mean
from input_pipeline import picture
from input_pipeline.decoding import (
    DataError,
    Decoding,
    Found,
    Records,
    Source,
    numbered_classes,
    progress,
    require_split,
)


def find(name: str, split: str, options: Decoding) -> Found:
    """A split of the data set `name`, which is prepared first if there is a network."""
    builder = _builder(name)
    known = tuple(builder.info.splits)
    require_split(f"tfds:{name}", split, known)
    label = builder.info.features["label"]
    names = tuple(label.names) if label.names else numbered_classes(label.num_classes)
    folder = pathlib.Path(builder.data_dir)
    info = hashlib.sha256((folder / "dataset_info.json").read_bytes()).hexdigest()
    files = sorted((f.name, f.stat().st_size) for f in folder.iterdir() if f.is_file())
    count = builder.info.splits[split].num_examples
    records = Records(count, _reader(builder, split, options))
    decode = functools.partial(_decode, records, f"{builder.name} {split}")
    identity = [str(builder.info.version), info, files]
    return Found(identity, names, decode, records=records)


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
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{advice} (preparing failed: {reason})") from error


def _reader(builder, split: str, options: Decoding) -> Callable[[int], tuple[np.ndarray, int]]:
    """row -> (image, label); the files are opened when the first row is read.

    Encoded images are decoded here: TFDS does it by OpenCV or by Pillow, as installed, takes the
    numbers of a palette for grey values, and 16 bits modulo 256.
    """
    decoders = _undecoded(builder.info.features["image"])
    rows = functools.cache(lambda: builder.as_data_source(split=split, decoders=decoders))

    def read(row: int) -> tuple[np.ndarray, int]:
        record = rows()[row]
        where = f"tfds:{builder.name} {split}, row {row}"
        if decoders:
            image = picture.decode(record["image"], where)
            return options.fit_picture(image, where), int(record["label"])
        if record["image"].dtype != np.uint8:
            raise DataError(
                f"{where}: the image is {record['image'].dtype}, expected uint8; choose a data "
                "set of 8-bit images"
            )
        return options.fit_arrays(record["image"][None], where)[0], int(record["label"])

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

"""Images that TFDS keeps as PNG or JPEG are read as those of a folder."""

import io
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from input_pipeline.decoding import DataError, Decoding
from input_pipeline.sources import tfds as source


def encoded(image, kind="PNG", **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def read(feature, *images):
    """The images that the source reads from records with these images."""
    decoding = []

    def as_data_source(split, decoders):
        decoding.append(decoders)
        return [{"image": image, "label": row} for row, image in enumerate(images)]

    info = types.SimpleNamespace(features={"image": feature})
    builder = types.SimpleNamespace(name="set", info=info, as_data_source=as_data_source)
    reader = source._reader(builder, "train", Decoding(2, 3, "resize", "error", 1.0))
    found = [reader(row) for row in range(len(images))]
    assert [label for _, label in found] == list(range(len(images)))
    return [image.tolist() for image, _ in found], decoding[0]


def test_encoded_images_of_every_mode():
    colours = np.uint8([[[9, 80, 200], [250, 250, 0]], [[0, 0, 0], [9, 80, 200]]])
    image = Image.fromarray(colours)
    deep = Image.fromarray(np.uint16([[0, 256], [32768, 65535]]))
    turned = image.getexif()
    turned[274] = 3
    found, decoders = read(
        tfds.features.Image(),
        encoded(image),
        encoded(image.quantize(3)),  # the numbers of its palette are no grey values
        encoded(deep),  # not modulo 256
        encoded(image.convert("CMYK"), "TIFF"),
        encoded(image.rotate(180), exif=turned),
    )
    assert isinstance(decoders["image"], tfds.decode.SkipDecoding)
    wanted = colours.tolist()
    assert found == [wanted, wanted, [[[0] * 3, [1] * 3], [[128] * 3, [255] * 3]], wanted, wanted]


def test_arrays_are_taken_as_they_are():
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    found, decoders = read(tfds.features.Tensor(shape=(2, 2, 3), dtype=np.uint8), pixels)
    assert decoders is None and found == [pixels.tolist()]


def test_a_damaged_record_is_named():
    with pytest.raises(DataError, match="cannot read image tfds:set train, row 0: it is damaged"):
        read(tfds.features.Image(), b"no image")

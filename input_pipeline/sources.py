"""Named sources of labelled images: see KNOWN."""

import dataclasses
import difflib

import numpy as np

from input_pipeline import archives, cache, cifar, digits, folders, tfds_source, tiny_imagenet
from input_pipeline import fit as fitting
from input_pipeline.folders import load_as_they_are
from input_pipeline.image_set import DataError, Decoding, ImageSet

__all__ = ["KNOWN", "DataError", "ImageSet", "load", "load_as_they_are"]

FINDERS = {
    "cifar10": cifar.find_cifar10,
    "cifar100": cifar.find_cifar100,
    "digits": digits.find,
    "folder": folders.find,
    "npy": archives.find_npy,
    "npz": archives.find_npz,
    "tfds": tfds_source.find,
    "tiny_imagenet": tiny_imagenet.find,
}
KNOWN = (
    "cifar10:<folder>",
    "cifar100:<folder>",
    "digits",
    "folder:<path>",
    "npy:<folder>",
    "npz:<path>",
    "tfds:<name>",
    "tiny_imagenet:<folder>",
)


def load(
    source: str,
    split: str = "train",
    *,
    image_size: int,
    channels: int,
    fit: str = "resize",
    on_corrupt: str = "error",
) -> ImageSet:
    """Decodes a split of a source, or takes it from the cache of decoded arrays.

    Args:
      source: `digits` (1,797 real 8x8 digits of scikit-learn), `tfds:<name>`, `folder:<path>`
        (class sub-folders or flat), `npz:<path>` (arrays `images` and `labels`), `npy:<folder>`
        (`<split>_images.npy` and `<split>_labels.npy`, memory-mapped), or an official folder, or
        the one that holds it: `cifar10:<folder>`, `cifar100:<folder>` (binary or pickled; fine
        labels), `tiny_imagenet:<folder>` (its `test` is the official val folder).
      split: `train`, `test`, or what the source has.
      fit: images of another size are centre-cropped and resized (`resize`, antialiased bicubic)
        or centred on black (`pad`).
      on_corrupt: an unreadable image of a folder is an `error`, or is named and passed over
        (`skip`).

    Raises:
      DataError: missing or unusable data, or an unknown source.
    """
    options = Decoding(image_size, channels, fit, on_corrupt)
    _check_options(options)
    scheme, _, rest = source.partition(":")
    if scheme not in FINDERS:
        near = difflib.get_close_matches(scheme, FINDERS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(f"unknown data source {source!r}; known are {', '.join(KNOWN)}.{hint}")
    found = FINDERS[scheme](rest, split, options)
    key = cache.digest([source, split, dataclasses.asdict(options), found.identity])
    images, labels = cache.decoded(key, found.decode) if found.cached else found.decode()
    return ImageSet(images, labels.astype(np.int32), found.class_names, source, split, key)


def _check_options(options: Decoding) -> None:
    for name, value, known in (
        ("data.fit", options.fit, fitting.MODES),
        ("data.on_corrupt", options.on_corrupt, ("error", "skip")),
        ("data.channels", options.channels, (1, 3)),
    ):
        if value not in known:
            raise DataError(f"config.{name} = {value!r} is not one of {known}")

"""Named sources of labelled images, and of points: see KNOWN."""

import numpy as np

from drifting.core.errors import did_you_mean
from input_pipeline import (
    archives,
    cache,
    cifar,
    digits,
    folders,
    latents,
    shapes,
    tfds_source,
    tiny_imagenet,
    toy2d,
)
from input_pipeline import fit as fitting
from input_pipeline.folders import load_as_they_are
from input_pipeline.image_set import DataError, Decoding, Found, ImageSet
from input_pipeline.streaming import Stream

__all__ = ["KNOWN", "DataError", "ImageSet", "Stream", "load", "load_as_they_are", "open_stream"]

FINDERS = {
    "cifar10": cifar.find_cifar10,
    "cifar100": cifar.find_cifar100,
    "digits": digits.find,
    "folder": folders.find,
    "latents": latents.find,
    "npy": archives.find_npy,
    "npz": archives.find_npz,
    "overfit": shapes.find_overfit,
    "shapes": shapes.find,
    "tfds": tfds_source.find,
    "tiny_imagenet": tiny_imagenet.find,
    "toy2d": toy2d.find,
}
KNOWN = (
    "cifar10:<folder>",
    "cifar100:<folder>",
    "digits",
    "folder:<path>",
    "latents:<folder>",
    "npy:<folder>",
    "npz:<path>",
    "overfit:<n>",
    "shapes",
    "tfds:<name>",
    "tiny_imagenet:<folder>",
    "toy2d:<name>",
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
        (`<split>_images.npy` and `<split>_labels.npy`, memory-mapped), `latents:<folder>` (float32
        values, `<split>_latents.npy` and `<split>_labels.npy`), or an official folder, or
        the one that holds it: `cifar10:<folder>`, `cifar100:<folder>` (binary or pickled; fine
        labels), `tiny_imagenet:<folder>` (its `test` is the official val folder). Made, not read:
        `shapes` (five drawn shapes in colour), `overfit:<n>` (the first n of them, to be learnt by
        heart), `toy2d:<name>` (float32 points [N, 2] of gaussians, blobs, moons, rings or
        checkerboard; no option below is for points).
      split: `train`, `test`, or what the source has.
      fit: images of another size are centre-cropped and resized (`resize`, antialiased bicubic)
        or centred on black (`pad`). Latents are not fitted: they must have the size and channels.
      on_corrupt: an unreadable image of a folder is an `error`, or is named and passed over
        (`skip`).

    Raises:
      DataError: missing or unusable data, or an unknown source.
    """
    found, key = _find(source, split, Decoding(image_size, channels, fit, on_corrupt))
    images, labels = cache.decoded(key, found.decode) if found.cached else found.decode()
    return ImageSet(images, labels.astype(np.int32), found.class_names, source, split, key)


def open_stream(
    source: str,
    split: str = "train",
    *,
    image_size: int,
    channels: int,
    fit: str = "resize",
    on_corrupt: str = "error",
    latent_scale: float = 0.18215,
    seed: int = 0,
    threads: int = 8,
) -> Stream:
    """A split of a source to be read as it is trained on; little is read before.

    Args:
      source: of those of `load`, the ones that are read record by record: `folder:`, `latents:`
        (also `<split>_moments.npy`), `npy:`, `tfds:` and `tiny_imagenet:`.
      split, image_size, channels, fit: as for `load`.
      on_corrupt: `error` alone, for every position of a stream has its record.
      latent_scale: of latents that are drawn from moments; that of Stable Diffusion's autoencoder
        (Rombach et al., arXiv:2112.10752) is 0.18215.
      seed, threads: see `Stream`.

    Raises:
      DataError: missing or unusable data, an unknown source or one that cannot be streamed. What
        is wrong with a single record is found when it is read.
    """
    if threads < 1:
        raise DataError(f"config.data.read_threads = {threads} is less than one thread")
    if on_corrupt == "skip":
        raise DataError(
            "config.data.on_corrupt = 'skip' cannot be streamed: every position has its record. "
            "Remove unreadable images, or set config.data.streaming=False"
        )
    options = Decoding(image_size, channels, fit, on_corrupt, latent_scale)
    found, key = _find(source, split, options)
    if found.records is None:
        raise DataError(
            f"{source} cannot be streamed; folder:, latents:, npy:, tfds: and tiny_imagenet: can. "
            "Set config.data.streaming=False"
        )
    return Stream(found.records, found.class_names, source, split, key, seed, threads)


def _find(source: str, split: str, options: Decoding) -> tuple[Found, str]:
    """The split, not yet decoded, and its fingerprint."""
    scheme, _, rest = source.partition(":")
    if scheme not in FINDERS:
        hint = did_you_mean(scheme, FINDERS)
        raise DataError(f"unknown data source {source!r}; known are {', '.join(KNOWN)}{hint}")
    if scheme != "latents":  # they are not fitted, and have any number of channels
        _check_options(options)
    found = FINDERS[scheme](rest, split, options)
    return found, cache.digest([source, split, options.identity, found.identity])


def _check_options(options: Decoding) -> None:
    for name, value, known in (
        ("data.fit", options.fit, fitting.MODES),
        ("data.on_corrupt", options.on_corrupt, ("error", "skip")),
        ("data.channels", options.channels, (1, 3)),
    ):
        if value not in known:
            raise DataError(f"config.{name} = {value!r} is not one of {known}")

"""Named sources of labelled samples, a line each in SOURCES, and the config keys that they read."""

import dataclasses
from collections.abc import Callable

import numpy as np

from drifting.core.errors import ConfigError, did_you_mean
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
from input_pipeline.decoding import DataError, Decoding, Found
from input_pipeline.folders import load_as_they_are
from input_pipeline.image_set import DataSet, ImageSet
from input_pipeline.space import Latents, Pixels, Points, Space
from input_pipeline.streaming import Stream

__all__ = [
    "SOURCES",
    "DataError",
    "DataSet",
    "ImageSet",
    "Settings",
    "Stream",
    "load",
    "load_as_they_are",
    "open_stream",
    "space_of",
]


@dataclasses.dataclass(frozen=True)
class Source:
    """A kind of source.

    Attributes:
      usage: how it is asked for.
      find: (what follows the colon, split, options) -> the split, not yet decoded.
      kind: of its samples. Images are brought to one shape (`Decoding`).
      streams: whether it is read record by record.
    """

    usage: str
    find: Callable[[str, str, Decoding], Found]
    kind: type[Space] = Pixels
    streams: bool = False

    @property
    def scheme(self) -> str:
        return self.usage.partition(":")[0]


SOURCES = {
    source.scheme: source
    for source in (
        Source("cifar10:<folder>", cifar.find_cifar10),
        Source("cifar100:<folder>", cifar.find_cifar100),
        Source("digits", digits.find),
        Source("folder:<path>", folders.find, streams=True),
        Source("latents:<folder>", latents.find, kind=Latents, streams=True),
        Source("npy:<folder>", archives.find_npy, streams=True),
        Source("npz:<path>", archives.find_npz),
        Source("overfit:<n>", shapes.find_overfit),
        Source("shapes", shapes.find),
        Source("tfds:<name>", tfds_source.find, streams=True),
        Source("tiny_imagenet:<folder>", tiny_imagenet.find, streams=True),
        Source("toy2d:<name>", toy2d.find, kind=Points),
    )
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The keys of config.data."""

    source: str = "digits"  # a usage of SOURCES; `load` says what each holds
    split: str = "train"  # of the source, trained on
    test_split: str = "test"  # samples never trained on, for evaluation
    num_val: int = 0  # samples of `split` kept out of training: fixed, stratified (splits.py)
    split_seed: int = 42  # of which samples these are
    image_size: int = 8  # height and width of an image, in pixels; or of latents, in positions
    channels: int = 1  # of an image, 1 or 3; of latents, any number
    fit: str = "resize"  # or pad: how images of another size are brought to image_size
    on_corrupt: str = "error"  # or skip: unreadable images of a folder are left out
    flip: bool = False  # mirror real images at random
    # Read as it is trained on, for what does not fit the device; else all of it lives there.
    streaming: bool = False
    read_threads: int = 8  # of a stream; as many batches are in the host's memory
    latent_scale: float = 0.18215  # times latents drawn from moments (latents.py)

    def check(self) -> None:
        """Refuses what can be refused before the data are looked for.

        Raises:
          DataError, ConfigError: one line that names the key.
        """
        if self.streaming and self.num_val:
            raise ConfigError(
                f"config.data.num_val = {self.num_val}, but no part of a stream is kept out of "
                "training: set config.data.num_val=0, or config.data.streaming=False"
            )
        if self.streaming:
            _check_streaming(self.source, self.on_corrupt, self.read_threads)
        _check_options(self.source, self.fit, self.on_corrupt, self.channels)


def load(
    source: str,
    split: str = Settings.split,
    *,
    image_size: int,
    channels: int,
    fit: str = Settings.fit,
    on_corrupt: str = Settings.on_corrupt,
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
    options = Decoding(image_size, channels, fit, on_corrupt, Settings.latent_scale)
    found, key = _find(source, split, options)
    images, labels = cache.decoded(key, found.decode) if found.cached else found.decode()
    labels = labels.astype(np.int32)
    space = space_of(source, image_size, channels)
    return ImageSet(images, labels, found.class_names, source, split, key, space)


def open_stream(
    source: str,
    split: str = Settings.split,
    *,
    image_size: int,
    channels: int,
    fit: str = Settings.fit,
    on_corrupt: str = Settings.on_corrupt,
    latent_scale: float = Settings.latent_scale,
    seed: int = 0,
    threads: int = Settings.read_threads,
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
    _check_streaming(source, on_corrupt, threads)
    options = Decoding(image_size, channels, fit, on_corrupt, latent_scale)
    found, key = _find(source, split, options)
    space = space_of(source, image_size, channels)
    return Stream(found.records, found.class_names, source, split, key, space, seed, threads)


def space_of(source: str, image_size: int, channels: int) -> Space:
    """What one sample of a source is; nothing is looked for.

    Raises:
      DataError: an unknown source.
    """
    kind = _source(source).kind
    return kind((2,) if kind is Points else (image_size, image_size, channels))


def _find(source: str, split: str, options: Decoding) -> tuple[Found, str]:
    """The split, not yet decoded, and its fingerprint."""
    _check_options(source, options.fit, options.on_corrupt, options.channels)
    found = _source(source).find(source.partition(":")[2], split, options)
    return found, cache.digest([source, split, options.identity, found.identity])


def _source(name: str) -> Source:
    """The kind of source of config.data.source; DataError names the known ones and the nearest."""
    scheme, _, _ = name.partition(":")
    if scheme not in SOURCES:
        known = ", ".join(source.usage for source in SOURCES.values())
        hint = did_you_mean(scheme, SOURCES)
        raise DataError(f"unknown data source {name!r}; known are {known}{hint}")
    return SOURCES[scheme]


def _check_options(source: str, fit: str, on_corrupt: str, channels: int) -> None:
    """Raises DataError for options that are none of those for the images of a source."""
    if _source(source).kind is not Pixels:
        return
    for name, value, known in (
        ("data.fit", fit, fitting.MODES),
        ("data.on_corrupt", on_corrupt, ("error", "skip")),
        ("data.channels", channels, (1, 3)),
    ):
        if value not in known:
            raise DataError(f"config.{name} = {value!r} is not one of {known}")


def _check_streaming(source: str, on_corrupt: str, threads: int) -> None:
    """Raises DataError where a source is not streamed, or not in this way."""
    if threads < 1:
        raise DataError(f"config.data.read_threads = {threads} is less than one thread")
    if on_corrupt == "skip":
        raise DataError(
            "config.data.on_corrupt = 'skip' cannot be streamed: every position has its record. "
            "Remove unreadable images, or set config.data.streaming=False"
        )
    if not _source(source).streams:
        able = ", ".join(source.usage for source in SOURCES.values() if source.streams)
        raise DataError(f"{source} cannot be streamed; {able} can. Set config.data.streaming=False")

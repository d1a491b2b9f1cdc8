"""Loads or streams a split of a named source, and declares the keys of config.data.

Each source is a file of this package; registry.py lists them.
"""

import dataclasses
from typing import Any

import numpy as np

from drifting.core.errors import ConfigError
from input_pipeline import fit as fitting
from input_pipeline.decoding import LATENT_SCALE, DataError, Decoding, Found
from input_pipeline.endless import Endless
from input_pipeline.image_files import load_unresized
from input_pipeline.image_set import DataSet, ImageSet
from input_pipeline.sources import registry
from input_pipeline.sources.registry import SOURCES
from input_pipeline.space import Latents, Pixels, Points, Space
from input_pipeline.streaming import Stream

__all__ = [
    "SOURCES",
    "DataError",
    "DataSet",
    "Endless",
    "ImageSet",
    "Settings",
    "Stream",
    "kind_of",
    "load",
    "load_unresized",
    "open_rows",
    "open_stream",
    "space_of",
]


MAX_SIZE = 8192  # of an image: one of this size already takes 200 MB


@dataclasses.dataclass(frozen=True)
class Settings:
    """The keys of config.data."""

    source: str = "digits"  # a usage of SOURCES; the source's file says what it holds
    split: str = "train"  # the split of the source to train on
    test_split: str = "test"  # samples never trained on, for evaluation
    limit: int = 0  # so many samples of `split`, for a try: fixed, stratified (splits.py); 0: all
    num_val: int = 0  # samples of `split` kept out of training: fixed, stratified (splits.py)
    split_seed: int = 42  # which samples these are
    image_size: int = 8  # height and width of an image, in pixels; of latents, in positions
    channels: int = 1  # of an image, 1 or 3; of latents, any number
    fit: str = "resize"  # or pad: how images of another size are brought to image_size
    on_corrupt: str = "error"  # or skip: unreadable images of a folder are left out
    flip: bool = False  # mirror real images at random
    # Read while training, for data larger than the device; otherwise all data live on the device.
    streaming: bool = False
    read_threads: int = 8  # of a stream; the host's memory holds one batch per thread
    autoencoder: str = ""  # workdir of that which decodes latents; "": that which the folder names
    latent_scale: float = LATENT_SCALE  # factor of latents drawn from npy moments

    def check(self) -> None:
        """Refuses what can be refused without the data.

        Raises:
          DataError, ConfigError: one line that names the key.
        """
        if not 1 <= self.image_size <= MAX_SIZE:
            raise ConfigError(
                f"config.data.image_size = {self.image_size} is not in 1 to {MAX_SIZE}"
            )
        if self.limit < 0:
            raise ConfigError(f"config.data.limit = {self.limit} is negative; set 0 for all")
        if self.streaming and self.limit:
            raise ConfigError(
                f"config.data.limit = {self.limit}, but the classes of a stream are not known "
                "before it is read: set config.data.limit=0, or config.data.streaming=False"
            )
        if self.streaming and self.num_val:
            raise ConfigError(
                f"config.data.num_val = {self.num_val}, but no part of a stream is kept out of "
                "training: set config.data.num_val=0, or config.data.streaming=False"
            )
        if self.autoencoder and kind_of(self.source) is not Latents:
            raise ConfigError(
                f"config.data.autoencoder = {self.autoencoder!r} decodes latents, which "
                f"{self.source} does not hold; set config.data.autoencoder=''"
            )
        if self.latent_scale <= 0:
            raise ConfigError(
                f"config.data.latent_scale = {self.latent_scale} is not positive; set it to 1 over "
                "the standard deviation of the latents"
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
    latent_scale: float = Settings.latent_scale,
    flip: bool = Settings.flip,
) -> ImageSet:
    """Decodes a split of a source, or takes it from the cache of decoded arrays.

    Args:
      source: a usage of SOURCES such as `digits`, `folder:<path>` or `tfds:<name>`. Each source's
        file, at its end, says what it holds.
      split: `train`, `test`, or another split of the source.
      image_size, channels: of the images; of latents, which must have them already. Points have
        neither.
      fit: images of another size are centre-cropped and resized (`resize`, antialiased bicubic)
        or centred on black (`pad`).
      on_corrupt: an unreadable image of a folder is an `error`, or is named in a warning and left
        out (`skip`).
      latent_scale: as for `open_stream`; not used, but refused where it would have no meaning.
      flip: whether half of all visits are of mirror images. Images are mirrored when they are used;
        latents need a folder that holds those of mirror images.

    Raises:
      DataError: missing or unusable data, or an unknown source.
    """
    options = Decoding(image_size, channels, fit, on_corrupt, latent_scale, flip)
    found = _find(source, split, options)
    images, labels = registry.decode(source, split, options, found)
    _check_labels(source, split, labels, len(images), len(found.class_names))
    space = space_of(source, image_size, channels)
    labels = labels.astype(np.int32)
    mirrored = found.mirrored() if flip and found.mirrored else None
    return ImageSet(images, labels, found.class_names, source, split, space, mirrored)


def open_stream(
    source: str,
    split: str = Settings.split,
    *,
    image_size: int,
    channels: int,
    fit: str = Settings.fit,
    on_corrupt: str = Settings.on_corrupt,
    latent_scale: float = Settings.latent_scale,
    flip: bool = Settings.flip,
    seed: int = 0,
    threads: int = Settings.read_threads,
) -> Stream | Endless:
    """A split of a source that is read while training; little is read before.

    Args:
      source: as for `load`, if its Source says `streams`.
      split, image_size, channels, fit: as for `load`.
      on_corrupt: only `error`, because every position of a stream has a record.
      latent_scale: factor of latents that are drawn from moments; 0.18215 is that of Stable
        Diffusion's autoencoder (Rombach et al., arXiv:2112.10752).
      flip: as for `load`.
      seed, threads: see `Stream`.

    Raises:
      DataError: missing or unusable data, an unknown source or one that cannot be streamed. Errors
        in a single record are found when it is read.
    """
    _check_streaming(source, on_corrupt, threads)
    options = Decoding(image_size, channels, fit, on_corrupt, latent_scale, flip)
    found = _find(source, split, options)
    space = space_of(source, image_size, channels)
    if found.samples:
        return Endless(found.samples, found.class_names, source, split, space)
    return Stream(found.records, found.class_names, source, split, space, seed, threads)


def open_rows(source: str, split: str, **options: Any) -> ImageSet | Stream:
    """A split to read by `rows`: as a stream, which saves memory, where it can be one.

    Args:
      options: those of `load`, among them on_corrupt.

    Raises:
      DataError: as `load` and `open_stream`.
    """
    streams = registry.find(source).streams and options["on_corrupt"] == "error"
    opened = open_stream(source, split, **options) if streams else None
    return opened if isinstance(opened, Stream) else load(source, split, **options)


def kind_of(source: str) -> type[Space]:
    """The kind of samples of a source, without opening the data.

    Raises:
      DataError: an unknown source.
    """
    return registry.find(source).kind


def space_of(source: str, image_size: int, channels: int) -> Space:
    """The space of one sample of a source, without opening the data.

    Raises:
      DataError: an unknown source.
    """
    kind = kind_of(source)
    return kind((2,) if kind is Points else (image_size, image_size, channels))


def _find(source: str, split: str, options: Decoding) -> Found:
    """The split, not yet decoded."""
    _check_options(source, options.fit, options.on_corrupt, options.channels)
    return registry.locate(source, split, options)


def _check_labels(source: str, split: str, labels: np.ndarray, count: int, classes: int) -> None:
    """Raises DataError unless each of at least one sample has the label of a class."""
    if count == 0 or labels.shape != (count,):
        raise DataError(
            f"{source}, split {split!r}: {count} samples and labels {labels.shape}; name a split "
            "with at least one sample, and a label for each"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise DataError(
            f"{source}, split {split!r}: {len(wrong)} labels are not in 0 to {classes - 1}, the "
            f"first is {labels[wrong[0]]} of sample {wrong[0]}; choose a split with labels"
        )


def _check_options(source: str, fit: str, on_corrupt: str, channels: int) -> None:
    """Raises DataError for an option that images of the source cannot have."""
    if registry.find(source).kind is not Pixels:
        return
    for name, value, known in (
        ("data.fit", fit, fitting.MODES),
        ("data.on_corrupt", on_corrupt, ("error", "skip")),
        ("data.channels", channels, (1, 3)),
    ):
        if value not in known:
            raise DataError(f"config.{name} = {value!r} is not one of {known}")


def _check_streaming(source: str, on_corrupt: str, threads: int) -> None:
    """Raises DataError for a source or options that cannot be streamed."""
    if threads < 1:
        raise DataError(
            f"config.data.read_threads = {threads} is less than one; set it to 1 or more"
        )
    if on_corrupt == "skip":
        raise DataError(
            "config.data.on_corrupt = 'skip' cannot be streamed: every position has its record. "
            "Remove unreadable images, or set config.data.streaming=False"
        )
    if not registry.find(source).streams:
        able = ", ".join(source.usage for source in SOURCES.values() if source.streams)
        raise DataError(f"{source} cannot be streamed; {able} can. Set config.data.streaming=False")

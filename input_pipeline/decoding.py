"""What a source is, what it finds, and how it is asked to decode it."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from PIL import Image
from tqdm import tqdm

from drifting.core.errors import UserError
from input_pipeline import fit
from input_pipeline.space import Pixels, Space

MAX_CLASSES = 2**20  # more are a mistake, and their names would take the memory
LATENT_SCALE = 0.18215  # of Stable Diffusion's autoencoder (Rombach et al., arXiv:2112.10752)


class DataError(UserError):
    """Data that is missing or cannot be used; the message says what to do."""


class NoSplit(DataError):
    """The source has no split of this name."""


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How images are brought to one shape: see `sources.load`."""

    size: int
    channels: int
    fit: str
    on_corrupt: str
    latent_scale: float = LATENT_SCALE  # for latents drawn from moments only (sources/latents.py)
    flip: bool = False  # mirror at random, where the source has to do it (sources/latents.py)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.size, self.size, self.channels

    @property
    def identity(self) -> dict[str, object]:
        """JSON values that change with the decoded images."""
        return {k: getattr(self, k) for k in ("size", "channels", "fit", "on_corrupt")}

    def keeps(self, shape: tuple[int, ...]) -> bool:
        """Whether images of `shape` (H, W, C) are left unchanged."""
        return tuple(shape) == self.shape

    def fit_arrays(self, images: np.ndarray, source: str) -> np.ndarray:
        """uint8 [N, H, W, C] as uint8 [N, size, size, channels]; DataError names the source."""
        try:
            return fit.fit_array(images, self.size, self.channels, self.fit)
        except ValueError as error:
            raise DataError(f"{source}: {error}") from error

    def fit_picture(self, image: Image.Image, name: object) -> np.ndarray:
        """A Pillow image as uint8 [size, size, channels]; DataError names it."""
        try:
            return fit.fit_image(image, self.size, self.channels, self.fit)
        except ValueError as error:
            raise DataError(f"{name}: {error}") from error


@dataclasses.dataclass(frozen=True)
class Records:
    """A split read record by record, for data larger than the device or host memory.

    Attributes:
      count: N.
      read: row -> (values, label); called from several threads at once.
      draw: (values read, generator) -> the values of one visit, for records that hold a
        distribution; None: the values are those read.
    """

    count: int
    read: Callable[[int], tuple[np.ndarray, int]]
    draw: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class Found:
    """A located but not yet decoded split.

    Attributes:
      identity: JSON values that change with the data, by which decoded arrays are kept; None: they
        are not, because decoding costs no more than reading the cache.
      class_names: one for each label.
      decode: () -> images, labels.
      records: None where the source is not read record by record.
      mirrored: () -> stored values of the mirror images, for `ImageSet.mirrored`; None where images
        are mirrored when they are used.
      samples: position -> the values and labels from there on; None unless the source has no
        length.
    """

    identity: object | None
    class_names: tuple[str, ...]
    decode: Callable[[], tuple[np.ndarray, np.ndarray]]
    records: Records | None = None
    mirrored: Callable[[], np.ndarray] | None = None
    samples: Callable[[int], Iterator[tuple[np.ndarray, int]]] | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """A kind of source; each file of sources/ ends in its own.

    Attributes:
      usage: the form of config.data.source, `<scheme>` or `<scheme>:<rest>`.
      find: (what follows the colon, split, options) -> the split, not yet decoded.
      kind: the space of its samples. Images are brought to one shape (`Decoding`).
      streams: whether it can be read while training.
      splits: their names; None: they depend on the data, and `find` checks them.
    """

    usage: str
    find: Callable[[str, str, Decoding], Found]
    kind: type[Space] = Pixels
    streams: bool = False
    splits: tuple[str, ...] | None = None

    @property
    def scheme(self) -> str:
        return self.usage.partition(":")[0]


def require_split(source: str, split: str, known: tuple[str, ...]) -> None:
    """Raises NoSplit unless `split` is one of `known`."""
    if split not in known:
        raise NoSplit(f"{source} has no split {split!r}; it has {', '.join(known)}")


def reason_of(error: Exception) -> str:
    """The first line of what a library says about an error, or its type if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def numbered_classes(count: int) -> tuple[str, ...]:
    """Names for classes that have none: "0" to "<count - 1>"; DataError above MAX_CLASSES."""
    if count > MAX_CLASSES:
        raise DataError(f"{count} classes are more than {MAX_CLASSES}; number them from 0")
    return tuple(map(str, range(count)))


def progress(items, what: str) -> Iterable:
    """The items, with a progress bar on the terminal if there are many."""
    few = len(items) < 5000
    return tqdm(items, desc=what, unit="img", unit_scale=True, mininterval=2.0, disable=few)

"""What a source finds, and how it is asked to decode it."""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
from tqdm import tqdm

from drifting.core.errors import UserError
from input_pipeline import fit


class DataError(UserError):
    """Data that is missing or cannot be used; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How images are brought to one shape: see `sources.load`."""

    size: int
    channels: int
    fit: str
    on_corrupt: str
    latent_scale: float  # of moments (latents.py); images know none

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.size, self.size, self.channels

    @property
    def identity(self) -> dict[str, object]:
        """JSON values that change with the decoded images."""
        return {k: getattr(self, k) for k in ("size", "channels", "fit", "on_corrupt")}

    def keeps(self, shape: tuple[int, ...]) -> bool:
        """Whether images of `shape` (H, W, C) stay as they are."""
        return tuple(shape) == self.shape

    def fit_arrays(self, images: np.ndarray, source: str) -> np.ndarray:
        """uint8 [N, H, W, C] as uint8 [N, size, size, channels]; DataError names the source."""
        try:
            return fit.fit_array(images, self.size, self.channels, self.fit)
        except ValueError as error:
            raise DataError(f"{source}: {error}") from error


@dataclasses.dataclass(frozen=True)
class Records:
    """A split record by record, for what does not fit the device or the memory.

    Attributes:
      count: N.
      read: row -> (values, label); several threads call it at once.
      draw: (values read, generator) -> the values of one visit, for records that hold a
        distribution; None: they are what was read.
    """

    count: int
    read: Callable[[int], tuple[np.ndarray, int]]
    draw: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class Found:
    """A located but not yet decoded split: what identifies it, and how to decode it."""

    identity: object  # JSON values that change with the data
    class_names: tuple[str, ...]
    decode: Callable[[], tuple[np.ndarray, np.ndarray]]
    cached: bool = True  # false where decoding costs no more than reading the cache
    records: Records | None = None  # None where the source is not read record by record


def require_split(source: str, split: str, known: tuple[str, ...]) -> None:
    """Raises DataError unless `split` is one of `known`."""
    if split not in known:
        raise DataError(f"{source} has no split {split!r}; it has {', '.join(known)}")


def progress(items, what: str) -> Iterable:
    """The items, with a bar on the terminal where there are enough to wait for."""
    few = len(items) < 5000
    return tqdm(items, desc=what, unit="img", unit_scale=True, mininterval=2.0, disable=few)

"""The space of one sample (image, point, array or latent): how it is stored, modelled and shown.

Code that depends on the kind of data asks its `Space`, which the source determines.
"""

import abc
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from input_pipeline import pixels


@dataclasses.dataclass(frozen=True)
class Space(abc.ABC):
    """A kind of sample and its shape; hashable, so a static part of jitted programs.

    Attributes:
      shape: the shape of one sample, without the batch.
      kind: one word for config.json.
      noun: the plural noun for messages.
      dtype: the type of stored values.
      mirrors: whether samples have mirror images.
      reverses: whether these are the samples with their columns in reverse.
    """

    shape: tuple[int, ...]

    kind: ClassVar[str]
    noun: ClassVar[str]
    dtype: ClassVar[type]
    mirrors: ClassVar[bool] = False
    reverses: ClassVar[bool] = False

    @abc.abstractmethod
    def to_model(self, stored: jax.Array) -> jax.Array:
        """Stored values [..., *shape] as the float32 values that a model sees."""

    @abc.abstractmethod
    def to_stored(self, values: jax.Array) -> jax.Array:
        """The inverse of `to_model`, rounded for integer types; NaN must be refused before."""

    @abc.abstractmethod
    def to_picture(self, values: jax.Array, frozen: Mapping[str, Any] | None = None) -> jax.Array:
        """A model's values as images in [-1, 1] or as points, to look at.

        Args:
          frozen: parameters of networks that are not trained, by name.
        """

    @property
    def shown(self) -> "Space":
        """The space of what `to_picture` returns."""
        return self

    def to_vectors(self, stored: jax.Array) -> jax.Array:
        """Stored values [B, *shape] as float32 vectors [B, D], for distances between them."""
        return stored.reshape(len(stored), -1).astype(jnp.float32)  # [B, D]

    def holds(self, stored: np.ndarray) -> bool:
        """Whether an array [N, ...] has stored samples of this kind, of any size."""
        return stored.dtype == self.dtype and stored.ndim == 1 + len(self.shape)

    @property
    def size(self) -> int:
        """The number of values of one sample."""
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        return self.shape[-1]

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "shape": list(self.shape)}


@dataclasses.dataclass(frozen=True)
class Pixels(Space):
    """Images [H, W, C]: stored as uint8, in [-1, 1] for a model."""

    kind = "pixels"
    noun = "images"
    dtype = np.uint8
    mirrors = True
    reverses = True

    def to_model(self, stored: jax.Array) -> jax.Array:
        return pixels.to_unit(stored)

    def to_stored(self, values: jax.Array) -> jax.Array:
        return pixels.to_uint8(values)

    def to_picture(self, values: jax.Array, frozen: Mapping[str, Any] | None = None) -> jax.Array:
        del frozen
        return values

    def to_vectors(self, stored: jax.Array) -> jax.Array:
        """As in `Space`, with black at 0 and white at 1."""
        return super().to_vectors(stored) / 255.0


@dataclasses.dataclass(frozen=True)
class _Values(Space):
    """Float32 values that a model sees as stored."""

    dtype = np.float32

    def to_model(self, stored: jax.Array) -> jax.Array:
        return stored

    def to_stored(self, values: jax.Array) -> jax.Array:
        return values.astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Points(_Values):
    """Points [D]."""

    kind = "points"
    noun = "points"

    def to_picture(self, values: jax.Array, frozen: Mapping[str, Any] | None = None) -> jax.Array:
        del frozen
        return values


@dataclasses.dataclass(frozen=True)
class Arrays(_Values):
    """Arrays [H, W, C] of any number of channels, such as spectra over a plane."""

    kind = "arrays"
    noun = "arrays"
    mirrors = True
    reverses = True

    def to_picture(self, values: jax.Array, frozen: Mapping[str, Any] | None = None) -> jax.Array:
        """The first three channels, or the first one where there are two."""
        del frozen
        return values[..., : 3 if self.channels >= 3 else 1]


@dataclasses.dataclass(frozen=True)
class Latents(_Values):
    """Latents [H, W, C] of an autoencoder.

    Those of a mirror image are not these in reverse: a convolution with a stride or an even kernel
    shifts by part of a pixel, and nothing makes the kernels symmetric. They are encoded.

    Attributes:
      decoder: (parameters, latents [B, H, W, C]) -> images [B, H', W', 3] in [-1, 1], where the
        parameters are `frozen["autoencoder"]`; None: latents are shown in false colours.
      images: the space of what `decoder` returns.
    """

    decoder: Callable[[Any, jax.Array], jax.Array] | None = None
    images: Space | None = None

    kind = "latents"
    noun = "latents"
    mirrors = True

    def to_picture(self, values: jax.Array, frozen: Mapping[str, Any] | None = None) -> jax.Array:
        """Decoded images, or the first three channels with -1 and 1 at three deviations."""
        if self.decoder is None:
            return values[..., :3] / 3.0
        flat = values.reshape(-1, *self.shape)  # [B, H, W, C]
        images = self.decoder(frozen["autoencoder"], flat)
        return images.reshape(*values.shape[:-3], *images.shape[1:])

    @property
    def shown(self) -> Space:
        return self.images or Pixels((*self.shape[:-1], min(3, self.channels)))


KINDS = {space.kind: space for space in (Pixels, Points, Arrays, Latents)}


def from_json(values: Mapping[str, Any]) -> Space:
    """The space that `to_json` wrote; KeyError or TypeError for anything else."""
    space = KINDS[values["kind"]](tuple(values["shape"]))
    if not space.shape or any(type(n) is not int or n < 1 for n in space.shape):
        raise TypeError(f"{space.shape} is not the shape of a sample")
    return space

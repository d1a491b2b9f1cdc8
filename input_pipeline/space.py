"""What one sample is: an image, a point or a latent; how it is stored, seen by a model and shown.

Everything that depends on the kind of data asks the `Space` of the data, which a source names.
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
      shape: of one sample, without the batch.
      kind: one word for config.json.
      noun: many samples, for messages.
      dtype: of stored values.
      mirrors: whether a sample has a left and a right.
    """

    shape: tuple[int, ...]

    kind: ClassVar[str]
    noun: ClassVar[str]
    dtype: ClassVar[type]
    mirrors: ClassVar[bool] = False

    @abc.abstractmethod
    def to_model(self, stored: jax.Array) -> jax.Array:
        """Stored values [..., *shape] as float32 values that a model sees."""

    @abc.abstractmethod
    def to_stored(self, values: jax.Array) -> jax.Array:
        """The inverse of `to_model`, rounded where stored values are; NaN is refused before."""

    @abc.abstractmethod
    def to_picture(self, values: jax.Array, frozen: Mapping[str, Any] | None = None) -> jax.Array:
        """A model's values as what people look at: images in [-1, 1], or points.

        Args:
          frozen: parameters by name of networks that are not trained.
        """

    def to_vectors(self, stored: jax.Array) -> jax.Array:
        """Stored values [B, *shape] as float32 vectors [B, D] to measure distances between."""
        return stored.reshape(len(stored), -1).astype(jnp.float32)

    def holds(self, stored: np.ndarray) -> bool:
        """Whether an array [N, ...] has stored samples of this kind, of whatever size."""
        return stored.dtype == self.dtype and stored.ndim == 1 + len(self.shape)

    @property
    def size(self) -> int:
        """Values of one sample."""
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        return self.shape[-1]

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "shape": list(self.shape)}


@dataclasses.dataclass(frozen=True)
class Pixels(Space):
    """Images [H, W, C]: uint8 at rest, in [-1, 1] for a model."""

    kind = "pixels"
    noun = "images"
    dtype = np.uint8
    mirrors = True

    def to_model(self, stored: jax.Array) -> jax.Array:
        return pixels.to_unit(stored)

    def to_stored(self, values: jax.Array) -> jax.Array:
        return pixels.to_uint8(values)

    def to_picture(self, values: jax.Array, frozen: Mapping[str, Any] | None = None) -> jax.Array:
        del frozen
        return values

    def to_vectors(self, stored: jax.Array) -> jax.Array:
        """With black at 0 and white at 1."""
        return super().to_vectors(stored) / 255.0


@dataclasses.dataclass(frozen=True)
class _Values(Space):
    """Float32 values that a model sees as they are stored."""

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
class Latents(_Values):
    """Latents [H, W, C] of an autoencoder.

    Attributes:
      decoder: (parameters, latents [B, H, W, C]) -> images [B, H', W', 3] in [-1, 1], whose
        parameters are `frozen["autoencoder"]`; without one, latents are shown in false colours.
    """

    decoder: Callable[[Any, jax.Array], jax.Array] | None = None

    kind = "latents"
    noun = "latents"
    mirrors = True

    def to_picture(self, values: jax.Array, frozen: Mapping[str, Any] | None = None) -> jax.Array:
        """Decoded, or the first three channels, about three deviations each way."""
        if self.decoder is None:
            return values[..., :3] / 3.0
        flat = values.reshape(-1, *self.shape)
        images = self.decoder(frozen["autoencoder"], flat)
        return images.reshape(*values.shape[:-3], *images.shape[1:])


KINDS = {space.kind: space for space in (Pixels, Points, Latents)}


def from_json(values: Mapping[str, Any]) -> Space:
    """What `to_json` wrote; KeyError or TypeError where it is something else."""
    return KINDS[values["kind"]](tuple(values["shape"]))

"""Trained networks that are used and not trained further: encoders and autoencoders."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from drifting.core.facts import LatentFacts
from input_pipeline.space import Latents, Space
from models.activations import Activations


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """A trained network whose features are used to compare images.

    Attributes:
      name: the name that it was loaded by.
      image_shape: [H, W, C].
      parameters: on one device; passed to jitted programs, never constants in them.
      encode: (parameters, images [B, H, W, C] in [-1, 1]) -> Activations.
      identity: a text that differs whenever the features would.
    """

    name: str
    image_shape: tuple[int, ...]
    parameters: Any
    encode: Callable[[Any, jax.Array], Activations]
    identity: str


@dataclasses.dataclass(frozen=True, eq=False)
class Codec:
    """A trained autoencoder, by which images become latents and latents images.

    Attributes:
      name: the name that it was loaded by.
      image_space: of the images that it was trained on, shape [H, W, C].
      latent_shape: [h, w, c].
      parameters: on one device; passed to jitted programs, never constants in them.
      moments: (parameters, images [B, H, W, C] in [-1, 1]) -> mean and log-variance of their
        latents, [B, h, w, 2c].
      decode: (parameters, latents [B, h, w, c]) -> images [B, H, W, C], approximately in [-1, 1].
      identity: a text that differs whenever the latents or their images would.
    """

    name: str
    image_space: Space
    latent_shape: tuple[int, int, int]
    parameters: Any
    moments: Callable[[Any, jax.Array], jax.Array]
    decode: Callable[[Any, jax.Array], jax.Array]
    identity: str


@dataclasses.dataclass(frozen=True, eq=False)
class Decoder:
    """What makes images of the latents that a model sees, in training and in sampling.

    Attributes:
      space: of the latents, with the function that decodes them.
      parameters: of that function, `frozen["autoencoder"]`; never constants in a program.
      latents: what config.json keeps about it.
    """

    space: Latents
    parameters: Any
    latents: LatentFacts

    @property
    def name(self) -> str:
        return self.latents.autoencoder

    @property
    def identity(self) -> str:
        return self.latents.identity

"""How latents become images again: by the autoencoder that they were made with, and no other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from drifting.core.errors import ConfigError
from drifting.core.facts import LatentFacts
from drifting.core.networks import Codec, Decoder
from input_pipeline.space import Latents, Space


def decoder_of(codec: Codec, space: Space, latents: LatentFacts) -> Decoder:
    """The decoder of the latents that a run was trained on.

    Args:
      codec: the autoencoder that is there now.
      space: of the latents.
      latents: what is known about their autoencoder and their scale.

    Raises:
      ConfigError: the autoencoder is another one, or its latents have another shape.
    """
    if not same_weights(codec.identity, latents.identity):
        raise ConfigError(
            f"the autoencoder {codec.name} is not the one whose latents are trained on: its hash "
            f"is {_short(codec.identity)}, that of theirs {_short(latents.identity)}; restore the "
            "one that it was, or name its workdir with --config.data.autoencoder in the run's "
            "`python train.py` command"
        )
    if codec.latent_shape != space.shape:
        raise ConfigError(
            f"the autoencoder {codec.name} has latents of shape {codec.latent_shape}, not "
            f"{space.shape}: name the one that made them with config.data.autoencoder"
        )
    scale = {"mean": jnp.float32(latents.mean), "std": jnp.float32(latents.std)}  # [c] each
    return Decoder(
        Latents(space.shape, _of_scaled(codec.decode), codec.image_space),
        {"network": codec.parameters, **scale},
        latents,
    )


def _of_scaled(decode: Callable) -> Callable:
    """`decode` for latents [B, h, w, c] as a model sees them, of parameters with their scale."""

    def decoder(parameters: Any, latents: jax.Array) -> jax.Array:
        mean, std = (parameters[name][None, None, None] for name in ("mean", "std"))
        return decode(parameters["network"], latents * std + mean)

    return decoder


def same_weights(one: str, other: str) -> bool:
    """Whether two identities are those of the same parameters, in any precision."""
    return one.partition(":")[0] == other.partition(":")[0]


def _short(identity: str) -> str:
    return identity[:8]

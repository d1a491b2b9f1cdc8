"""Turning and scaling latents and images alike, so that latents become smooth in space.

Kouzelis et al., "EQ-VAE: Equivariance Regularized Latent Space for Improved Generative Image
Modeling" (arXiv:2502.09509): in some steps the image T(x) has to come from T(latents of x).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

SCALES = (0.25, 0.5, 0.75, 1.0)
QUARTERS = 4


def sides(latent_side: int) -> tuple[int, ...]:
    """The sides of scaled latents, from the smallest to `latent_side` itself."""
    return tuple(sorted({max(1, round(scale * latent_side)) for scale in SCALES}))


def draw(key: jax.Array, probability: float, latent_side: int) -> tuple[jax.Array, jax.Array]:
    """A place in `sides` and a number of quarter turns, both uniform; or neither scale nor turn."""
    key_whether, key_side, key_turns = jax.random.split(key, 3)
    count = len(sides(latent_side))
    moves = jax.random.bernoulli(key_whether, probability)
    place = jnp.where(moves, jax.random.randint(key_side, (), 0, count), count - 1)
    return place, jnp.where(moves, jax.random.randint(key_turns, (), 0, QUARTERS), 0)


def transformed(x: jax.Array, side: int, turns: jax.Array) -> jax.Array:
    """Square maps [B, S, S, C], scaled to [B, side, side, C] and turned counterclockwise.

    Scaling is linear interpolation, over all values that fall into a new one.
    """
    if x.shape[1] != side:
        x = jax.image.resize(x, (len(x), side, side, x.shape[-1]), "linear")
    rotations = [lambda x, k=k: jnp.rot90(x, k, axes=(1, 2)) for k in range(QUARTERS)]
    return jax.lax.switch(turns, rotations, x)


def under(
    drawn: tuple[jax.Array, jax.Array],
    function: Callable[[jax.Array, jax.Array], Any],
    images: jax.Array,
    latents: jax.Array,
) -> Any:
    """function(T(images), T(latents)), whose result has the same shapes for all T."""
    place, turns = drawn
    factor = images.shape[1] // latents.shape[1]

    def branch(side: int) -> Callable:
        return lambda images, latents, turns: function(
            transformed(images, side * factor, turns), transformed(latents, side, turns)
        )

    return jax.lax.switch(
        place, [branch(s) for s in sides(latents.shape[1])], images, latents, turns
    )

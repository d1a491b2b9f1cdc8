"""Feature functions of images: the spaces in which samples drift. Raw pixels are one of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from models.activations import Activations, input_stacks, location_stacks, pooled_stacks

KINDS = ("pooled", "locations")

# (parameters, images [B, H, W, C] in [-1, 1]) -> one stack [S, B, D] per feature: D values at each
# of S places (S = 1 for a feature of the whole image).
FeatureFunction = Callable[[Any, jax.Array], tuple[jax.Array, ...]]


def pixels(parameters: Any, images: jax.Array) -> tuple[jax.Array, ...]:
    """The flattened sample as the only feature: ([1, B, H * W * C],)."""
    del parameters
    return (images.reshape(1, images.shape[0], -1),)  # [1, B, H * W * C]


def of_encoder(
    encode: Callable[[Any, jax.Array], Activations], kind: str, every_block: int
) -> FeatureFunction:
    """The features of a trained network.

    Args:
      kind: "pooled", the spatial mean of each stage; or "locations", as released: every place of
        the maps, their means and deviations over patches, and the images' root mean square and
        pixels.
      every_block: for "locations", also the maps of every k-th block; 0: only those of the stages.
    """

    def pooled(parameters: Any, images: jax.Array) -> tuple[jax.Array, ...]:
        return pooled_stacks(encode(parameters, images))

    def locations(parameters: Any, images: jax.Array) -> tuple[jax.Array, ...]:
        found = location_stacks(encode(parameters, images), every_block)
        return (*input_stacks(images, 1), *found)

    return pooled if kind == "pooled" else locations


def dimensions(
    features: FeatureFunction, parameters: Any, shape: tuple[int, ...]
) -> tuple[int, ...]:
    """The number of values D of each feature, for samples of this shape."""
    one = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return tuple(f.shape[-1] for f in jax.eval_shape(features, parameters, one))

"""What drifts: feature functions of images, of which the pixels are one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from models.activations import Activations, input_stacks, location_stacks, pooled_stacks

KINDS = ("pooled", "locations")

# (parameters, images [B, H, W, C] in [-1, 1]) -> stacks [S, B, D], one a feature: S places of it
# (one, for a whole image) with vectors of D values.
FeatureFunction = Callable[[Any, jax.Array], tuple[jax.Array, ...]]


def pixels(parameters: Any, images: jax.Array) -> tuple[jax.Array, ...]:
    """The sample itself, flattened, as the only feature: ([1, B, H * W * C],)."""
    del parameters
    return (images.reshape(1, images.shape[0], -1),)


def of_encoder(
    encode: Callable[[Any, jax.Array], Activations], kind: str, every_block: int
) -> FeatureFunction:
    """The features of a trained network.

    Args:
      kind: `pooled`, the mean of each stage's map; or `locations`, the released form: every place
        of the maps and their patches' means and deviations, with the images' own root mean square
        and pixels.
      every_block: for `locations`, the maps of every k-th block; 0 for the stages' alone.
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
    """D of each feature of samples of a shape."""
    one = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return tuple(f.shape[-1] for f in jax.eval_shape(features, parameters, one))

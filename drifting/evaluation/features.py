"""What a distance between image sets is measured in: functions from images to vectors."""

import dataclasses
import difflib
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from drifting.config import ConfigError


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureFunction:
    """A named map from images to feature vectors.

    apply: uint8 [B, H, W, C] -> float32 [B, dimension]; jittable, each row from its image alone.
    A Partial is an argument of a jitted program and carries a network's weights as arrays, where
    a closure would bake them into the program; the same function with other weights of the same
    shapes runs the same program.
    """

    name: str
    dimension: int
    apply: Partial


def feature_function(name: str, image_shape: tuple[int, int, int]) -> FeatureFunction:
    """The feature function called `name` for images [H, W, C] = image_shape.

    Raises ConfigError for an unknown name, naming the known ones and the nearest.
    """
    if name not in _MAKERS:
        nearest = difflib.get_close_matches(name, _MAKERS, n=1, cutoff=0.5)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigError(f"unknown features {name!r}, known: {', '.join(sorted(_MAKERS))}{hint}")
    return _MAKERS[name](image_shape)


def _flat_pixels(images: jax.Array) -> jax.Array:
    """uint8 [B, H, W, C] -> float32 [B, H W C] in [0, 1]."""
    return images.reshape(len(images), -1).astype(jnp.float32) / 255.0


def _pixels(image_shape: tuple[int, int, int]) -> FeatureFunction:
    return FeatureFunction("pixels", math.prod(image_shape), Partial(_flat_pixels))


_MAKERS: dict[str, Callable[[tuple[int, int, int]], FeatureFunction]] = {"pixels": _pixels}

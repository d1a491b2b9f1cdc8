"""Features of many images, batch by batch: their moments on the device, their vectors if asked."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial
from tqdm import tqdm

from drifting.evaluation.features import Described, FeatureFunction
from drifting.evaluation.moments import MomentAccumulator, Moments
from input_pipeline.space import Space


@dataclasses.dataclass(frozen=True, eq=False)
class Collected:
    """A set of N images, described.

    Attributes:
      moments: of the features.
      vectors: float32 [N, D] on the host, or None where only moments were asked for.
      logits: float32 [N, K] on the host, or None.
    """

    moments: Moments
    vectors: np.ndarray | None
    logits: np.ndarray | None


class Collector:
    """Takes in descriptions of batches.

    Args:
      dimension: of the features.
      keep_vectors: bring every vector and logit to the host, for scores that need them; else only
        moments leave the device.
    """

    def __init__(self, dimension: int, keep_vectors: bool):
        self._moments = MomentAccumulator(dimension)
        self._kept: list[Described] | None = [] if keep_vectors else None

    def add(self, described: Described) -> None:
        self._moments.update(described.features)
        if self._kept is not None:
            self._kept.append(jax.device_get(described))

    def collected(self) -> Collected:
        """Raises ValueError for fewer than two images."""
        moments = self._moments.moments()
        if self._kept is None:
            return Collected(moments, None, None)
        logits = None
        if self._kept[0].logits is not None:
            logits = np.concatenate([d.logits for d in self._kept])
        return Collected(moments, np.concatenate([d.features for d in self._kept]), logits)


@jax.jit
def describe(apply: Partial, images: jax.Array) -> Described:
    """apply(images) as a program of its own."""
    return apply(images)


def first(batch: Any, count: int) -> Any:
    """The first `count` rows of every array: a padded batch without its padding."""
    return jax.tree.map(lambda leaf: leaf[:count], batch)


def everywhere(sharding: jax.sharding.NamedSharding) -> jax.sharding.NamedSharding:
    """A whole copy on every device of a batch's sharding."""
    return jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())


def describe_images(
    batches: Iterable[np.ndarray],
    space: Space,
    features: FeatureFunction,
    *,
    total: int,
    batch_size: int,
    keep_vectors: bool = False,
    sharding: jax.sharding.NamedSharding | None = None,
    what: str = "features",
) -> Collected:
    """Describes stored samples that come in batches of batch_size, the last shorter.

    Args:
      total: images to come, for the progress bar.
      sharding: of a batch over devices; None for one device.
      what: the bar's name.

    Raises:
      ValueError: they are not of this space, or fewer than two.
    """
    collector = Collector(features.dimension, keep_vectors)
    apply = features.apply
    if sharding is not None:
        apply = jax.device_put(apply, everywhere(sharding))
    with tqdm(total=total, unit="image", desc=what, mininterval=1.0, leave=False) as bar:
        for images in batches:
            if not space.holds(images):
                raise ValueError(
                    f"expected {np.dtype(space.dtype)} {space.noun} [N, *{space.shape}], got "
                    f"{images.dtype} {images.shape}"
                )
            missing = batch_size - len(images)
            padded = np.pad(images, ((0, missing), *((0, 0),) * (images.ndim - 1)))
            described = describe(apply, jax.device_put(padded, sharding))
            collector.add(first(described, len(images)))
            bar.update(len(images))
    return collector.collected()


def split(images: np.ndarray, batch_size: int) -> Iterable[np.ndarray]:
    """Consecutive parts of an array, the last shorter."""
    return (images[i : i + batch_size] for i in range(0, len(images), batch_size))

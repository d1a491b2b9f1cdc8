"""Features of many images: their moments on the device, and the vectors themselves on request."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial
from tqdm import tqdm

from drifting.evaluation.features import FeatureBatch, FeatureFunction
from drifting.evaluation.moments import MomentAccumulator, Moments
from input_pipeline.space import Space


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureSet:
    """The features of N images.

    Attributes:
      moments: mean and covariance of the features.
      vectors: float32 [N, D] on the host, or None if only moments were requested.
      logits: float32 [N, K] on the host, or None.
    """

    moments: Moments
    vectors: np.ndarray | None
    logits: np.ndarray | None


class FeatureCollector:
    """Collects the features of one batch after another.

    Args:
      dimension: of the features.
      keep_vectors: whether to copy every vector and logit to the host, for metrics that need them;
        otherwise only moments leave the device.
    """

    def __init__(self, dimension: int, keep_vectors: bool):
        self._moments = MomentAccumulator(dimension)
        self._kept: list[FeatureBatch] | None = [] if keep_vectors else None

    def add(self, batch: FeatureBatch) -> None:
        self._moments.update(batch.features)
        if self._kept is not None:
            self._kept.append(jax.device_get(batch))

    def collected(self) -> FeatureSet:
        """The features of all batches so far; raises ValueError for fewer than two images."""
        moments = self._moments.moments()
        if self._kept is None:
            return FeatureSet(moments, None, None)
        logits = None
        if self._kept[0].logits is not None:
            logits = np.concatenate([batch.logits for batch in self._kept])  # [N, K]
        vectors = np.concatenate([batch.features for batch in self._kept])  # [N, D]
        return FeatureSet(moments, vectors, logits)


@jax.jit
def extract(apply: Partial, images: jax.Array) -> FeatureBatch:
    """apply(images), compiled as one program."""
    return apply(images)


def first_rows(batch: Any, count: int) -> Any:
    """The first `count` rows of every array: a padded batch without its padding."""
    return jax.tree.map(lambda leaf: leaf[:count], batch)


def replicated(sharding: jax.sharding.NamedSharding) -> jax.sharding.NamedSharding:
    """The sharding with a full copy on every device of a batch's sharding."""
    return jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())


def extract_features(
    batches: Iterable[np.ndarray],
    space: Space,
    features: FeatureFunction,
    *,
    total: int,
    batch_size: int,
    keep_vectors: bool = False,
    sharding: jax.sharding.NamedSharding | None = None,
    title: str = "features",
) -> FeatureSet:
    """The features of stored samples in batches of batch_size, of which the last may be smaller.

    Args:
      total: the number of images, for the progress bar.
      sharding: of a batch over devices; None for one device.
      title: of the progress bar.

    Raises:
      ValueError: the samples are not of this space, or fewer than two.
    """
    collector = FeatureCollector(features.dimension, keep_vectors)
    apply = features.apply
    if sharding is not None:
        apply = jax.device_put(apply, replicated(sharding))
    with tqdm(total=total, unit="image", desc=title, mininterval=1.0, leave=False) as bar:
        for images in batches:
            if not space.holds(images):
                raise ValueError(
                    f"expected {np.dtype(space.dtype)} {space.noun} [N, *{space.shape}], got "
                    f"{images.dtype} {images.shape}"
                )
            missing = batch_size - len(images)
            padded = np.pad(images, ((0, missing), *((0, 0),) * (images.ndim - 1)))
            extracted = extract(apply, jax.device_put(padded, sharding))
            collector.add(first_rows(extracted, len(images)))
            bar.update(len(images))
    return collector.collected()


def in_batches(images: np.ndarray, batch_size: int) -> Iterable[np.ndarray]:
    """Consecutive parts of an array, the last of which may be smaller."""
    return (images[i : i + batch_size] for i in range(0, len(images), batch_size))

"""What metrics are computed from: a set of samples and the real images it is compared with."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from drifting.evaluation import extraction, ordering, reference_statistics
from drifting.evaluation.extraction import FeatureSet
from drifting.evaluation.features import FeatureFunction
from drifting.evaluation.moments import Moments
from input_pipeline.image_set import ImageSet


class Reference:
    """Real images and what is computed from them once, for all sets of samples.

    Args:
      images: the images that samples are compared with.
      heldout: real images outside `images`, or None.
      features: the feature function of both sets.
      batch_size: images per call of the feature function.
      heldout_count: the number of held-out images to use.
      sharding: of a batch over devices; None for one device.
      statistics: a file to read the moments from, instead of computing them.

    Raises:
      StatisticsError: the file cannot be used.
    """

    def __init__(
        self,
        images: ImageSet,
        heldout: ImageSet | None,
        features: FeatureFunction,
        *,
        batch_size: int,
        heldout_count: int,
        sharding: jax.sharding.NamedSharding | None = None,
        statistics: str | None = None,
    ):
        self.images = images
        self._heldout, self._features, self._batch_size = heldout, features, batch_size
        self._heldout_count = heldout_count
        self._given = reference_statistics.read(statistics, features) if statistics else None
        self._sharding = sharding
        self._kept: dict[Callable, Any] = {}

    @functools.cached_property
    def moments(self) -> Moments:
        if self._given:
            return self._given
        return reference_statistics.moments_of(
            self.images, self._features, self._batch_size, self._sharding
        )

    @functools.cached_property
    def vectors(self) -> np.ndarray:
        """Features of all images, float32 [N, D], in an order that depends on the images alone."""
        found = _vectors_of(self.images, self._features, self._batch_size, self._sharding)
        return found[ordering.shuffled(self.images.images, seed=0)]

    @property
    def heldout(self) -> np.ndarray | None:
        """Held-out real images as they are stored, [heldout_count, ...]; None without any.

        The same random part in each call, for the sake of comparisons.
        """
        if self._heldout is None:
            return None
        images = self._heldout.images
        return images[ordering.shuffled(images, seed=0)[: self._heldout_count]]

    def once(self, function: Callable[["Reference"], Any]) -> Any:
        """function(self), computed at the first call and kept for all sets of samples."""
        if function not in self._kept:
            self._kept[function] = function(self)
        return self._kept[function]


class Originals:
    """Real images that samples are made from, and their features, in the order of the samples."""

    def __init__(
        self,
        images: ImageSet,
        features: FeatureFunction,
        batch_size: int,
        sharding: jax.sharding.NamedSharding | None = None,
    ):
        self.images = images
        self._given = features, batch_size, sharding

    @functools.cached_property
    def vectors(self) -> np.ndarray:
        """Features, float32 [M, D]; computed once for all checkpoints."""
        return _vectors_of(self.images, *self._given)


def _vectors_of(
    images: ImageSet,
    features: FeatureFunction,
    batch_size: int,
    sharding: jax.sharding.NamedSharding | None,
) -> np.ndarray:
    """Features of all images in their order, float32 [N, D]."""
    return extraction.extract_features(
        extraction.in_batches(images.images, batch_size),
        images.space,
        features,
        total=len(images),
        batch_size=batch_size,
        keep_vectors=True,
        sharding=sharding,
        title=f"{features.name} of {images.source}",
    ).vectors


@dataclasses.dataclass(frozen=True, eq=False)
class Samples(FeatureSet):
    """M samples and their features; what no metric needs may be absent.

    Attributes:
      images: as stored, uint8 [M, H, W, C]; only the first ones, or None, unless a metric needs
        all.
      labels: int32 [M], the classes that the generator was conditioned on, or None.
      originals: the M images that the samples are reconstructions or translations of, or None.
    """

    images: np.ndarray | None
    labels: np.ndarray | None
    originals: Originals | None = None


class Comparison:
    """A set of samples and its reference; what several metrics need is computed once.

    Args:
      reference: real images, their moments and vectors, and held-out images.
      samples: generated images, their labels, moments, vectors and logits.
      seed: for the random choices of metrics.
    """

    def __init__(self, reference: Reference, samples: Samples, seed: int):
        self.reference, self.samples, self.seed = reference, samples, seed
        self._kept: dict[Callable, Any] = {}

    def once(self, function: Callable[["Comparison"], Any]) -> Any:
        """function(self), computed at the first call and kept for other metrics."""
        if function not in self._kept:
            self._kept[function] = function(self)
        return self._kept[function]


def samples_of(
    features: FeatureSet,
    images: np.ndarray | None,
    labels: np.ndarray | None,
    originals: Originals | None = None,
) -> Samples:
    """The features of samples together with their images, labels and originals."""
    return Samples(**vars(features), images=images, labels=labels, originals=originals)

"""What metrics are computed from: a set of samples and the real images that it is put beside."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from drifting.evaluation import collect, reference
from drifting.evaluation.collect import Collected
from drifting.evaluation.features import FeatureFunction
from drifting.evaluation.moments import Moments
from input_pipeline.image_set import ImageSet


class Reference:
    """Real images, and what is computed of them once and used for every set of samples.

    Args:
      images: the set that samples are compared with.
      heldout: real images never trained on, or None.
      features: what both sides are described by.
      batch_size: images through the feature function at once.
      heldout_count: how many held-out images speak for all.
      sharding: of a batch over devices; None for one device.
      statistics: a file to take the moments from, instead of the images.
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
        self._heldout_count, self._statistics = heldout_count, statistics
        self._sharding = sharding
        self._kept: dict[Callable, Any] = {}

    @functools.cached_property
    def moments(self) -> Moments:
        if self._statistics:
            return reference.read(self._statistics, self._features)
        return reference.moments_of(self.images, self._features, self._batch_size, self._sharding)

    @functools.cached_property
    def vectors(self) -> np.ndarray:
        """Features of all images, float32 [N, D]."""
        return collect.describe_images(
            collect.split(self.images.images, self._batch_size),
            self.images.space,
            self._features,
            total=len(self.images),
            batch_size=self._batch_size,
            keep_vectors=True,
            sharding=self._sharding,
            what=f"{self._features.name} of {self.images.source}",
        ).vectors

    @property
    def heldout(self) -> np.ndarray | None:
        """Held-out real images as they are stored, [heldout_count, ...]; None without any."""
        return None if self._heldout is None else self._heldout.images[: self._heldout_count]

    def once(self, function: Callable[["Reference"], Any]) -> Any:
        """function(self), computed at the first call and kept for all sets of samples."""
        if function not in self._kept:
            self._kept[function] = function(self)
        return self._kept[function]


@dataclasses.dataclass(frozen=True, eq=False)
class Samples(Collected):
    """A set of M samples, described; what no metric needs may be absent.

    Attributes:
      images: as they are stored, uint8 [M, H, W, C]; the first ones alone, or None, unless all
        are needed.
      labels: int32 [M], the classes that were asked of the generator, or None.
    """

    images: np.ndarray | None
    labels: np.ndarray | None


class Measured:
    """Samples beside the reference; what several metrics need is computed once.

    Args:
      reference: the real side: images, moments, vectors, heldout.
      samples: the generated side: moments, vectors, logits, images, labels.
      seed: of what metrics draw.
    """

    def __init__(self, reference: Reference, samples: Samples, seed: int):
        self.reference, self.samples, self.seed = reference, samples, seed
        self._kept: dict[Callable, Any] = {}

    def once(self, function: Callable[["Measured"], Any]) -> Any:
        """function(self), computed at the first call and kept for other metrics."""
        if function not in self._kept:
            self._kept[function] = function(self)
        return self._kept[function]


def samples_of(
    collected: Collected, images: np.ndarray | None, labels: np.ndarray | None
) -> Samples:
    """Described samples together with what they were described from."""
    return Samples(**vars(collected), images=images, labels=labels)

"""Every metric of one set of samples against one reference."""

import functools
from typing import Any

import jax
import numpy as np

from drifting.core.errors import ConfigError
from drifting.evaluation import collect, reference
from drifting.evaluation.features import FeatureFunction
from drifting.evaluation.metrics import (
    energy,
    frechet,
    inception_score,
    kid,
    manifold,
    memorization,
    neighbours,
)
from input_pipeline.image_set import ImageSet

# Which columns of the table a metric fills; the first one says that it was measured.
METRICS = {
    "fid": ("frechet_distance",),
    "kid": ("kid", "kid_std"),
    "is": ("inception_score", "inception_score_std"),
    "prdc": ("precision", "recall", "density", "coverage"),
    "mifid": ("mifid", "memorization_distance"),
    "energy": ("energy_distance", "energy_distance_real"),
    "neighbours": ("nn_distance_samples", "nn_distance_heldout", "knn_accuracy"),
}
# The others need moments or images.
OF_VECTORS = frozenset(("kid", "is", "prdc", "mifid", "energy"))
# These ask what is in a picture, or whether it is a copy; points of the plane have no answer.
OF_IMAGES = frozenset(("is", "mifid", "neighbours"))


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

    @functools.cached_property
    def moments(self) -> frechet.Moments:
        if self._statistics:
            return reference.read(self._statistics, self._features)
        return reference.moments_of(
            self.images, self._features, self._batch_size, self._sharding
        )

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

    @functools.cached_property
    def heldout_distance(self) -> float | None:
        """Median distance of held-out real images to the nearest of the set."""
        if self._heldout is None:
            return None
        images = self._heldout.images[: self._heldout_count]
        return float(np.median(neighbours.nearest_distance(images, self.images.images)))


class Measurement:
    """The metrics of one set of samples; what several of them need is computed once.

    Args:
      reference: the real side.
      collected: the samples' description, with vectors where a metric of OF_VECTORS is asked for.
      images: the samples, uint8 [N, H, W, C], where `neighbours` is asked for.
      labels: int32 [N], the classes that were asked of the generator.
      seed: of KID's subsets and of the real points that the energy distance is to.
    """

    def __init__(
        self,
        reference: Reference,
        collected: collect.Collected,
        images: np.ndarray | None,
        labels: np.ndarray | None,
        seed: int,
    ):
        self._reference, self._collected = reference, collected
        self._images, self._labels, self._seed = images, labels, seed

    def metric(self, name: str) -> dict[str, Any]:
        """The columns of METRICS[name]."""
        measure = {
            "fid": self._fid,
            "kid": self._kid,
            "is": self._is,
            "prdc": self._prdc,
            "mifid": self._mifid,
            "energy": self._energy,
            "neighbours": self._neighbours,
        }
        return measure[name]()

    @functools.cached_property
    def _frechet_distance(self) -> float:
        return frechet.frechet_distance(self._reference.moments, self._collected.moments)

    def _fid(self) -> dict[str, float]:
        return {"frechet_distance": self._frechet_distance}

    def _kid(self) -> dict[str, float]:
        real, fake = self._reference.vectors, self._collected.vectors
        mean, deviation = kid.kernel_distance(real, fake, self._seed)
        return {"kid": mean, "kid_std": deviation}

    def _is(self) -> dict[str, float]:
        if self._collected.logits is None:
            raise ConfigError("--metrics is needs features with a classifier, as inception has")
        mean, deviation = inception_score.inception_score(self._collected.logits)
        return {"inception_score": mean, "inception_score_std": deviation}

    def _prdc(self) -> dict[str, float]:
        return manifold.compare(self._reference.vectors, self._collected.vectors).scores()

    def _mifid(self) -> dict[str, float]:
        distance = memorization.memorization_distance(
            self._reference.vectors, self._collected.vectors
        )
        return {
            "mifid": memorization.mifid(self._frechet_distance, distance),
            "memorization_distance": distance,
        }

    def _energy(self) -> dict[str, float]:
        distance, floor = energy.with_floor(
            self._reference.vectors, self._collected.vectors, self._seed
        )
        return {"energy_distance": distance, "energy_distance_real": floor}

    def _neighbours(self) -> dict[str, float | None]:
        """On pixels, whatever the features are."""
        real = self._reference.images
        nearest = neighbours.nearest_distance(self._images, real.images)
        accuracy = None
        if real.num_classes > 1 and self._labels is not None:
            accuracy = neighbours.knn_label_accuracy(
                real.images, real.labels, self._images, self._labels
            )
        return {
            "knn_accuracy": accuracy,
            "nn_distance_samples": float(np.median(nearest)),
            "nn_distance_heldout": self._reference.heldout_distance,
        }

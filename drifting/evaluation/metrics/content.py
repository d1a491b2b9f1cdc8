"""How much of its input a translation or reconstruction keeps, in the features of the score."""

from typing import TYPE_CHECKING

import numpy as np

from drifting.evaluation import metric
from drifting.evaluation.metric import Metric, Need

if TYPE_CHECKING:
    from drifting.evaluation.comparison import Comparison


def content_similarity(originals: np.ndarray, samples: np.ndarray) -> float:
    """The mean over images of the cosine of the features of an image and of what it became.

    Exactly 1 for equal features, those of zeros included; 0 where one of two alone is zero.

    Args:
      originals, samples: features [M, D], in one order.
    """
    first, second = _unit(originals), _unit(samples)
    # The cosine as 1 - |u - v|^2 / 2, which rounding leaves at 1 for equal vectors.
    cosines = 1.0 - 0.5 * np.square(first - second).sum(axis=1)
    cosines[first.any(axis=1) != second.any(axis=1)] = 0.0
    return float(cosines.mean())


def _unit(features: np.ndarray) -> np.ndarray:
    """The vectors [M, D] at length 1, float64; those of zeros remain."""
    features = np.asarray(features, np.float64)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norms > 0.0, norms, 1.0)


def _columns(comparison: "Comparison") -> dict[str, float]:
    samples = comparison.samples
    return {"content": content_similarity(samples.originals.vectors, samples.vectors)}


METRIC = Metric(
    "content",
    columns=("content",),
    needs=Need.VECTORS | Need.ORIGINALS,
    measure=_columns,
    words=metric.values("content"),
    of_images=True,
    drawn="content",
    place=85,
)

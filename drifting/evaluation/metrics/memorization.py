"""Memorisation-informed FID: Bai et al., "On Training Sample Memorization", arXiv:2106.03062.

The score of Kaggle's generative competitions, such as that on Monet's paintings.
"""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from drifting.evaluation import metric, pairwise
from drifting.evaluation.metric import Metric, Need, Undefined
from drifting.evaluation.metrics import frechet

if TYPE_CHECKING:
    from drifting.evaluation.comparison import Comparison

THRESHOLD = 0.1  # of the Monet task; larger distances do not change the score
EPSILON = 10e-15  # of the task's code: keeps the quotient finite for exact copies
SAME = 1e-8  # a Frechet distance that is no larger is a rounding error, as in torchmetrics


def memorization_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Mean over fakes of the least cosine distance, 1 - |cos|, to a real feature vector.

    It is never negative, and exactly 0 for copies.

    Args:
      real, fake: features [N, D] and [M, D]; vectors of zeros are excluded.

    Raises:
      Undefined: all vectors of a set are zero.
    """
    real, fake = _unit(real, "reference images"), _unit(fake, "samples")
    return float(np.mean(pairwise.map_rows(_least, fake, real)))


def mifid(frechet_distance: float, distance: float, threshold: float = THRESHOLD) -> float:
    """The Frechet distance, divided by the memorisation distance if that is below threshold.

    Copies of a part of the reference get 1e14 times their Frechet distance. Copies of all of it
    have a Frechet distance of 0, and so a quotient of 0.
    """
    if frechet_distance <= SAME:
        return 0.0
    return frechet_distance / ((distance if distance < threshold else 1.0) + EPSILON)


def _unit(features: np.ndarray, whose: str) -> np.ndarray:
    features = np.asarray(features, np.float64)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    kept = norms[:, 0] > 0
    if not kept.any():
        raise Undefined(
            f"all features of the {whose} are zero, as pixels of black images are, and have no "
            "direction: look at the images, or leave this metric out"
        )
    return features[kept] / norms[kept]


def _least(rows: jax.Array, start: jax.Array, points: jax.Array) -> jax.Array:
    """1 - |cos| of each unit vector to the nearest point, as |x - y|^2 / 2 without cancellation."""
    del start
    cosines = jnp.matmul(rows, points.T, precision=jax.lax.Precision.HIGHEST)  # [B, N]
    nearest = jnp.argmax(jnp.abs(cosines), axis=1)
    signs = jnp.sign(jnp.take_along_axis(cosines, nearest[:, None], axis=1))  # [B, 1]
    return 0.5 * jnp.sum((rows - signs * points[nearest]) ** 2, axis=1)


def _columns(comparison: "Comparison") -> dict[str, float]:
    distance = memorization_distance(comparison.reference.vectors, comparison.samples.vectors)
    return {
        "mifid": mifid(comparison.once(frechet.distance), distance),
        "memorization_distance": distance,
    }


METRIC = Metric(
    "mifid",
    columns=("mifid", "memorization_distance"),
    needs=Need.MOMENTS | Need.VECTORS,
    measure=_columns,
    words=metric.values("mifid"),
    of_images=True,
    place=50,
)

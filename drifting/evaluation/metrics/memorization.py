"""Memorisation-informed FID: Bai et al., "On Training Sample Memorization", arXiv:2106.03062.

The score of Kaggle's generative competitions, such as that on Monet's paintings.
"""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from drifting.evaluation import metric, pairwise
from drifting.evaluation.metric import Metric, Need
from drifting.evaluation.metrics import frechet

if TYPE_CHECKING:
    from drifting.evaluation.comparison import Comparison

THRESHOLD = 0.1  # of the Monet task; larger distances do not change the score


def memorization_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Mean over fakes of the least cosine distance, 1 - |cos|, to a real feature vector.

    Args:
      real, fake: features [N, D] and [M, D]; vectors of zeros are excluded.
    """
    real, fake = _unit(real), _unit(fake)
    return float(np.mean(pairwise.map_rows(_least, fake, real)))


def mifid(frechet_distance: float, distance: float, threshold: float = THRESHOLD) -> float:
    """The Frechet distance, divided by the memorisation distance if that is below threshold."""
    # 1e-15, as in the code of the task, keeps the quotient finite for exact copies.
    return frechet_distance / ((distance if distance < threshold else 1.0) + 1e-15)


def _unit(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    kept = norms[:, 0] > 0
    return features[kept] / norms[kept]


def _least(rows: jax.Array, start: jax.Array, points: jax.Array) -> jax.Array:
    del start
    products = jnp.matmul(rows, points.T, precision=jax.lax.Precision.HIGHEST)  # [B, N]
    return 1.0 - jnp.max(jnp.abs(products), axis=1)


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

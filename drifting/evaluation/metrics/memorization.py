"""Memorisation-informed FID: Bai et al., "On Training Sample Memorization", arXiv:2106.03062.

As scored in Kaggle's generative competitions, Monet's paintings among them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from drifting.evaluation.metrics import pairwise

THRESHOLD = 0.1  # of the Monet task; a larger distance is no memorisation and costs nothing


def memorization_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Mean over fakes of the least cosine distance, 1 - |cos|, to a real feature vector.

    Args:
      real, fake: features [N, D] and [M, D]; vectors of zeros are left out.
    """
    real, fake = _unit(real), _unit(fake)
    return float(np.mean(pairwise.map_rows(_least, fake, real)))


def mifid(frechet: float, distance: float, threshold: float = THRESHOLD) -> float:
    """The Frechet distance, divided by the memorisation distance where that is below threshold."""
    # Exact copies have distance 0; the task's own code keeps the quotient finite in this way.
    return frechet / ((distance if distance < threshold else 1.0) + 1e-15)


def _unit(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    kept = norms[:, 0] > 0
    return features[kept] / norms[kept]


def _least(rows: jax.Array, start: jax.Array, points: jax.Array) -> jax.Array:
    del start
    products = jnp.matmul(rows, points.T, precision=jax.lax.Precision.HIGHEST)
    return 1.0 - jnp.max(jnp.abs(products), axis=1)

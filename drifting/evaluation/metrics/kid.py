"""Kernel Inception distance: Binkowski et al., arXiv:1801.01401, section 4."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from drifting.evaluation import metric
from drifting.evaluation.metric import Metric, Need

if TYPE_CHECKING:
    from drifting.evaluation.comparison import Comparison

SUBSETS = 100
SUBSET_SIZE = 1000


def squared_mmd(x: jax.Array, y: jax.Array, unbiased: bool = True) -> jax.Array:
    """Squared maximum mean discrepancy of x [N, D] and y [M, D].

    E k(x, x') + E k(y, y') - 2 E k(x, y), with k(a, b) = (a.b / D + 1)^3.

    The unbiased estimate excludes the pairs of a vector with itself (equation 4) and may be
    negative.
    """
    n, m = len(x), len(y)
    within_x, within_y, between = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    if not unbiased:
        return jnp.mean(within_x) + jnp.mean(within_y) - 2.0 * jnp.mean(between)
    sum_x = jnp.sum(within_x) - jnp.trace(within_x)
    sum_y = jnp.sum(within_y) - jnp.trace(within_y)
    return sum_x / (n * (n - 1)) + sum_y / (m * (m - 1)) - 2.0 * jnp.mean(between)


def _kernel(x: jax.Array, y: jax.Array) -> jax.Array:
    products = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)  # [N, M]
    return (products / x.shape[1] + 1.0) ** 3


def kernel_distance(
    real: np.ndarray,
    fake: np.ndarray,
    seed: int,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
) -> tuple[float, float]:
    """Mean and standard deviation of the unbiased squared MMD over random subsets.

    Args:
      real, fake: features [N, D] and [M, D].
      seed: for drawing the subsets, each without replacement.
      subset_size: reduced to the size of the smaller set.

    Raises:
      ValueError: a set has fewer than two vectors.
    """
    size = min(subset_size, len(real), len(fake))
    if size < 2:
        raise ValueError(f"KID needs two vectors per set, got {len(real)} and {len(fake)}")
    generator = np.random.default_rng(seed)
    measure = jax.jit(squared_mmd)
    values = []
    for _ in range(subsets):
        rows = generator.choice(len(real), size, replace=False)
        columns = generator.choice(len(fake), size, replace=False)
        values.append(measure(real[rows], fake[columns]))
    values = np.asarray(jax.device_get(values), np.float64)
    return float(values.mean()), float(values.std())


def _columns(comparison: "Comparison") -> dict[str, float]:
    real, fake = comparison.reference.vectors, comparison.samples.vectors
    mean, deviation = kernel_distance(real, fake, comparison.seed)
    return {"kid": mean, "kid_std": deviation}


METRIC = Metric(
    "kid",
    columns=("kid", "kid_std"),
    needs=Need.VECTORS,
    measure=_columns,
    words=metric.mean_and_deviation("kid", "kid_std"),
    place=20,
)

"""Kernel Inception distance: Binkowski et al., arXiv:1801.01401, section 4."""

from typing import TYPE_CHECKING

import numpy as np

from drifting.evaluation import metric
from drifting.evaluation.metric import Metric, Need

if TYPE_CHECKING:
    from drifting.evaluation.comparison import Comparison

SUBSETS = 100
SUBSET_SIZE = 1000
_COLUMNS = 4096  # features that are copied to float64 at a time


def squared_mmd(x: np.ndarray, y: np.ndarray, unbiased: bool = True) -> float:
    """Squared maximum mean discrepancy of x [N, D] and y [M, D], in float64 on the host.

    E k(x, x') + E k(y, y') - 2 E k(x, y), with k(a, b) = (a.b / D + 1)^3.

    The unbiased estimate excludes the pairs of a vector with itself (equation 4) and may be
    negative. The kernel is not shift-invariant, so features far from 0 cannot be centred first;
    their kernels are large numbers of which little is left, nothing in float32.
    """
    n, m = len(x), len(y)
    within_x, within_y, between = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    if not unbiased:
        return float(within_x.mean() + within_y.mean() - 2.0 * between.mean())
    sum_x = within_x.sum() - np.trace(within_x)
    sum_y = within_y.sum() - np.trace(within_y)
    return float(sum_x / (n * (n - 1)) + sum_y / (m * (m - 1)) - 2.0 * between.mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    dimension = x.shape[1]
    products = np.zeros((len(x), len(y)))
    for start in range(0, dimension, _COLUMNS):
        part = slice(start, start + _COLUMNS)
        products += x[:, part].astype(np.float64) @ y[:, part].astype(np.float64).T
    base = products / dimension + 1.0
    return base * base * base


def kernel_distance(
    real: np.ndarray,
    fake: np.ndarray,
    seed: int,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
) -> tuple[float, float | None]:
    """Mean and standard deviation of the unbiased squared MMD over random subsets.

    The deviation is None if a set is no larger than a subset: subsets that are the whole set do not
    show how the estimate varies.

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
    if size == len(real) == len(fake):
        return squared_mmd(real, fake), None
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        rows = generator.choice(len(real), size, replace=False)
        columns = generator.choice(len(fake), size, replace=False)
        values.append(squared_mmd(real[rows], fake[columns]))
    varies = size < min(len(real), len(fake))
    return float(np.mean(values)), float(np.std(values)) if varies else None


def _columns(comparison: "Comparison") -> dict[str, float | None]:
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

"""Energy distance of two point sets: Szekely and Rizzo, J. Stat. Plan. Inference 143(8), 2013."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from drifting.evaluation import pairwise
from drifting.evaluation.metric import Metric, Need, Row

if TYPE_CHECKING:
    from drifting.evaluation.comparison import Comparison


def energy_distance(x: np.ndarray, y: np.ndarray, unbiased: bool = False) -> float:
    """2 E|x - y| - E|x - x'| - E|y - y'| of x [N, D] and y [M, D], without a square root.

    For sets of any size, in blocks whose sums are added in float64; the objective of training,
    `drifting.fields.objectives.energy_distance`, has small sets in memory and a gradient.

    Args:
      unbiased: exclude the pairs of a point with itself (U statistic), which may be negative;
        with them (V statistic) it is the distance of the two empirical distributions.
    """
    n, m = len(x), len(y)
    less = 1 if unbiased else 0
    within_x = _sum(_others, x, x) / (n * (n - less))
    within_y = _sum(_others, y, y) / (m * (m - less))
    return 2.0 * _sum(_all, x, y) / (n * m) - within_x - within_y


def with_floor(real: np.ndarray, fake: np.ndarray, seed: int) -> tuple[float, float]:
    """Energy distance of fake [M, D] to real [N, D], and its floor, that of a perfect generator.

    Both are V statistics, whose bias depends on the number of points, so both use
    n = min(M, N // 2) points: n fakes against n real points, and for the floor n other real points
    against the same. All are drawn with `seed`.

    Raises:
      ValueError: fewer than two real points, or no fakes.
    """
    n = min(len(fake), len(real) // 2)
    if n < 1:
        raise ValueError(
            "the energy distance needs at least 1 sample and 2 real points, got "
            f"{len(fake)} and {len(real)}"
        )
    generator = np.random.default_rng(seed)
    rows = generator.permutation(len(real))
    drawn, others = real[rows[:n]], real[rows[n : 2 * n]]
    fakes = fake[generator.permutation(len(fake))[:n]]
    return energy_distance(fakes, drawn), energy_distance(others, drawn)


def _sum(of_rows: Callable, x: np.ndarray, y: np.ndarray) -> float:
    """Sum of the distances of all pairs: over each row on the device, then in float64."""
    return float(np.sum(pairwise.map_rows(of_rows, x, y), dtype=np.float64))


def _all(rows: jax.Array, start: jax.Array, points: jax.Array) -> jax.Array:
    del start
    return jnp.sum(jnp.sqrt(pairwise.squared_distances(rows, points)), axis=1)


def _others(rows: jax.Array, start: jax.Array, points: jax.Array) -> jax.Array:
    """Like `_all`, with exactly 0 from a point to itself, where the product has rounding errors."""
    squared = pairwise.squared_distances(rows, points)
    squared = jnp.where(pairwise.own_pairs(rows, start, points), 0.0, squared)
    return jnp.sum(jnp.sqrt(squared), axis=1)


def _columns(comparison: "Comparison") -> dict[str, float]:
    real, fake = comparison.reference.vectors, comparison.samples.vectors
    distance, floor = with_floor(real, fake, comparison.seed)
    return {"energy_distance": distance, "energy_distance_real": floor}


def _words(row: Row) -> str:
    distance, floor = row["energy_distance"], row["energy_distance_real"]
    return f"energy distance {distance:.4g} (of real sets: {floor:.2g})"


METRIC = Metric(
    "energy",
    columns=("energy_distance", "energy_distance_real"),
    needs=Need.VECTORS,
    measure=_columns,
    words=_words,
    ranks_by="energy_distance",
    place=60,
)

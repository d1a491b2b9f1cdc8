"""Energy distance of two point sets: Szekely and Rizzo, J. Stat. Plan. Inference 143(8), 2013."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from drifting.evaluation import pairwise
from drifting.evaluation.metric import Metric, Need, Row

if TYPE_CHECKING:
    from drifting.evaluation.measured import Measured


def energy_distance(x: np.ndarray, y: np.ndarray, unbiased: bool = False) -> float:
    """2 E|x - y| - E|x - x'| - E|y - y'| of x [N, D] and y [M, D], without a square root.

    For sets of any size, in blocks whose sums are added in float64; the objective of training,
    `drifting.fields.objectives.energy_distance`, has small sets in memory and a gradient.

    Args:
      unbiased: leaves out the pairs of a point with itself (U statistic), so it may be negative;
        with them (V statistic) it is the distance of the two empirical distributions.
    """
    n, m = len(x), len(y)
    less = 1 if unbiased else 0
    within_x = _sum(_others, x, x) / (n * (n - less))
    within_y = _sum(_others, y, y) / (m * (m - less))
    return 2.0 * _sum(_all, x, y) / (n * m) - within_x - within_y


def with_floor(real: np.ndarray, fake: np.ndarray, seed: int) -> tuple[float, float]:
    """Energy distance of fake [M, D] to real [N, D], and what a perfect generator would have.

    V statistics, whose bias depends on the number of points: of the first n = min(M, N // 2) fakes
    and n real points drawn by `seed`, and as the floor of those and n other real points.

    Raises:
      ValueError: fewer than two real points, or no fakes.
    """
    n = min(len(fake), len(real) // 2)
    if n < 1:
        raise ValueError(f"{len(fake)} samples and {len(real)} real points have no energy distance")
    rows = np.random.default_rng(seed).permutation(len(real))
    drawn, others = real[rows[:n]], real[rows[n : 2 * n]]
    return energy_distance(fake[:n], drawn), energy_distance(others, drawn)


def _sum(of_rows: Callable, x: np.ndarray, y: np.ndarray) -> float:
    """Sum of all pairs' distances: rows on the device, their total in float64."""
    return float(np.sum(pairwise.map_rows(of_rows, x, y), dtype=np.float64))


def _all(rows: jax.Array, start: jax.Array, points: jax.Array) -> jax.Array:
    del start
    return jnp.sum(jnp.sqrt(pairwise.squared_distances(rows, points)), axis=1)


def _others(rows: jax.Array, start: jax.Array, points: jax.Array) -> jax.Array:
    """As `_all`, but a point is at 0 from itself, exactly: a matrix product leaves a rest."""
    squared = pairwise.squared_distances(rows, points)
    squared = jnp.where(pairwise.own_pairs(rows, start, points), 0.0, squared)
    return jnp.sum(jnp.sqrt(squared), axis=1)


def _columns(measured: "Measured") -> dict[str, float]:
    real, fake = measured.reference.vectors, measured.samples.vectors
    distance, floor = with_floor(real, fake, measured.seed)
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
    place=60,
)

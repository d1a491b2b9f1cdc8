"""Precision, recall, density and coverage of a generated set by balls around nearest neighbours.

Improved precision and recall: Kynkaanniemi et al., arXiv:1904.06991. Density and coverage: Naeem
et al., arXiv:2002.09797. As in the implementations of their authors, a ball of precision and
recall includes its boundary and a ball of density and coverage does not: on the boundary are, among
others, copies of the neighbour that sets the radius.
"""

import functools
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from drifting.evaluation import metric, pairwise
from drifting.evaluation.metric import Metric, Need

if TYPE_CHECKING:
    from drifting.evaluation.comparison import Comparison

NEIGHBOURS = 3


class Manifold(NamedTuple):
    """The results per point, before averaging.

    Attributes:
      precise: bool [M], whether a real ball contains the sample.
      recalled: bool [N], whether a fake ball contains the real point.
      balls_of_fake: int [M], the number of real balls without boundary that contain the sample.
      covered: bool [N], whether the ball of the real point, without boundary, contains a sample.
      k: the radius of a ball is the distance to the k-th neighbour.
    """

    precise: np.ndarray
    recalled: np.ndarray
    balls_of_fake: np.ndarray
    covered: np.ndarray
    k: int

    def scores(self) -> dict[str, float]:
        """precision, recall, density and coverage; only density may exceed 1."""
        return {
            "precision": float(np.mean(self.precise)),
            "recall": float(np.mean(self.recalled)),
            "density": float(np.mean(self.balls_of_fake) / self.k),
            "coverage": float(np.mean(self.covered)),
        }


def compare(real: np.ndarray, fake: np.ndarray, k: int = NEIGHBOURS) -> Manifold:
    """Compares features real [N, D] and fake [M, D] by balls around their points.

    The radius of a ball is the distance to the k-th nearest other point of the same set.

    Raises:
      ValueError: a set has k points or fewer.
    """
    if min(len(real), len(fake)) <= k:
        raise ValueError(
            f"{k} neighbours need at least {k + 1} points per set, got {len(real)} and {len(fake)}"
        )
    radius = functools.partial(_squared_radius, k=k)
    real_radius = pairwise.map_rows(radius, real, real)
    fake_radius = pairwise.map_rows(radius, fake, fake)
    precise, balls = pairwise.map_rows(_held, fake, real, real_radius)
    nearest, recalled = pairwise.map_rows(_nearest_and_held, real, fake, fake_radius)
    return Manifold(precise, recalled, balls, nearest < real_radius, k)


def _squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared distances as float32, in which equal distances of other pairs are equal."""
    return pairwise.squared_distances(x, y).astype(jnp.float32)


def _squared_radius(rows: jax.Array, start: jax.Array, points: jax.Array, k: int) -> jax.Array:
    """Squared distance of each row to its k-th nearest other point; row i is point start + i."""
    squared = _squared_distances(rows, points)
    own = pairwise.own_pairs(rows, start, points)
    others = jnp.where(own, jnp.inf, squared)
    # Each pass goes to the next larger value, unless k have been passed. For a few neighbours this
    # is much faster than lax.top_k, which sorts.
    radius = jnp.min(others, axis=1)
    for _ in range(k - 1):
        within = jnp.sum(others <= radius[:, None], axis=1)
        following = jnp.min(jnp.where(others > radius[:, None], others, jnp.inf), axis=1)
        radius = jnp.where(within < k, following, radius)
    return radius


def _held(
    rows: jax.Array, start: jax.Array, points: jax.Array, squared_radius: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Whether a ball around any point contains the row, and how many do without their boundary."""
    del start
    squared, limit = _squared_distances(rows, points), squared_radius[None, :]
    return jnp.any(squared <= limit, axis=1), jnp.sum(squared < limit, axis=1)


def _nearest_and_held(
    rows: jax.Array, start: jax.Array, points: jax.Array, squared_radius: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Squared distance to the nearest point, and whether a ball around any point contains it."""
    del start
    squared = _squared_distances(rows, points)
    return jnp.min(squared, axis=1), jnp.any(squared <= squared_radius[None, :], axis=1)


def _columns(comparison: "Comparison") -> dict[str, float]:
    return compare(comparison.reference.vectors, comparison.samples.vectors).scores()


METRIC = Metric(
    "prdc",
    columns=("precision", "recall", "density", "coverage"),
    needs=Need.VECTORS,
    measure=_columns,
    words=metric.values("precision", "recall", "density", "coverage"),
    least_samples=NEIGHBOURS + 1,
    least_reference=NEIGHBOURS + 1,
    place=40,
)

"""Reductions over all pairs of two sets of vectors, in float64, a block of rows at a time."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BLOCK_PAIRS = 2**24  # pairs in memory at once: 128 MiB of float64
# Of the squared norms: a larger squared distance of two vectors is no rounding error of float64.
ROUNDING = 1e-12


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared Euclidean distances [N, M] of x [N, D] to y [M, D], by a matrix product.

    The distance of a vector to its copy is exactly 0, without the remainder of the product.
    """
    # Relative to the centre of y, the terms that cancel are as small as they can be.
    centre = jnp.mean(y, axis=0, keepdims=True)
    x, y = x - centre, y - centre
    squares = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)[None, :]  # [N, M]
    squared = squares - 2.0 * jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.where(squared > ROUNDING * squares, squared, 0.0)


def own_pairs(rows: jax.Array, start: jax.Array, points: jax.Array) -> jax.Array:
    """bool [B, N]: where row i of a block and point start + i are the same point."""
    return jnp.arange(len(rows))[:, None] + start == jnp.arange(len(points))[None, :]


def map_rows(function: Callable, x: np.ndarray, *others: Any) -> Any:
    """Concatenates function(rows, start, *others) over blocks of rows of x [N, D].

    Args:
      function: jittable; returns a tree of arrays [B, ...]. `start` is the index of the block's
        first row. All blocks have one shape: the last is padded with zeros, whose results are
        dropped.
      others: its further arguments, arrays; the length of the first one sets the size of a block.
        Like x, they arrive as float64.

    Returns:
      NumPy arrays [N, ...].
    """
    rows = max(1, min(len(x), BLOCK_PAIRS // max(len(others[0]), 1)))
    parts = []
    with jax.enable_x64(True):
        others = jax.device_put([np.asarray(other, np.float64) for other in others])
        step = jax.jit(function)
        for start in range(0, len(x), rows):
            block = np.asarray(x[start : start + rows], np.float64)
            padded = np.pad(block, ((0, rows - len(block)), (0, 0)))
            result = step(padded, np.int64(start), *others)
            parts.append(jax.tree.map(functools.partial(_first, count=len(block)), result))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _first(leaf: jax.Array, count: int) -> np.ndarray:
    return np.asarray(leaf)[:count]

"""Reductions over all pairs of two sets of vectors, a block of rows at a time on the device."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BLOCK_PAIRS = 2**25  # pairs in memory at once: 128 MiB of float32


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared Euclidean distances [N, M] of x [N, D] to y [M, D], by a matrix product.

    |x - y|^2 = |x|^2 + |y|^2 - 2 x.y, relative to the mean of y so that little cancels.
    """
    centre = jnp.mean(y, axis=0, keepdims=True)
    x, y = x - centre, y - centre
    products = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)  # [N, M]
    x2, y2 = jnp.sum(x * x, axis=1), jnp.sum(y * y, axis=1)
    return jnp.maximum(x2[:, None] + y2[None, :] - 2.0 * products, 0.0)


def own_pairs(rows: jax.Array, start: jax.Array, points: jax.Array) -> jax.Array:
    """bool [B, N], whether row i of a block is point j, that is start + i = j."""
    return jnp.arange(len(rows))[:, None] + start == jnp.arange(len(points))[None, :]


def map_rows(function: Callable, x: np.ndarray, *others: Any) -> Any:
    """function(rows, start, *others) over blocks of rows of x [N, D]; its leaves [B, ...] joined.

    Args:
      function: jittable; `start` is the index of the first row of its block. All blocks have one
        shape: the last is padded with zeros, whose results are dropped.
      others: further arguments; the length of the first one determines the size of the blocks.

    Returns:
      NumPy arrays [N, ...].
    """
    rows = max(1, min(len(x), BLOCK_PAIRS // max(len(others[0]), 1)))
    others = jax.device_put(others)
    step = jax.jit(function)
    parts = []
    for start in range(0, len(x), rows):
        block = np.asarray(x[start : start + rows])
        padded = np.pad(block, ((0, rows - len(block)), (0, 0)))
        result = step(padded, np.int32(start), *others)
        parts.append(jax.tree.map(functools.partial(_first, count=len(block)), result))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _first(leaf: jax.Array, count: int) -> np.ndarray:
    return np.asarray(leaf)[:count]

"""Reductions over all pairs of two sets of vectors, a block of rows at a time on the device."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from drifting.fields import pairs

BLOCK_PAIRS = 2**25  # pairs in memory at once: 128 MiB of float32


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared Euclidean distances [N, M] of x [N, D] to y [M, D], by a matrix product."""
    return pairs.squared_distances(x, y, direct_dimensions=0)


def own_pairs(rows: jax.Array, start: jax.Array, points: jax.Array) -> jax.Array:
    """bool [B, N]: where row i of a block and point start + i are the same point."""
    return jnp.arange(len(rows))[:, None] + start == jnp.arange(len(points))[None, :]


def map_rows(function: Callable, x: np.ndarray, *others: Any) -> Any:
    """Concatenates function(rows, start, *others) over blocks of rows of x [N, D].

    Args:
      function: jittable; returns a tree of arrays [B, ...]. `start` is the index of the block's
        first row. All blocks have one shape: the last is padded with zeros, whose results are
        dropped.
      others: its further arguments; the length of the first one sets the size of a block.

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

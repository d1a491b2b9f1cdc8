"""Positions of tokens: rotary embeddings, and a fixed sine-cosine table of a grid."""

import jax
import jax.numpy as jnp
import numpy as np

MAX_PERIOD = 10000.0


def rotate(x: jax.Array) -> jax.Array:
    """Rotary embedding of x [B, T, H, D] at positions 0 to T - 1; rotates its halves.

    Su et al., arXiv:2104.09864.
    """
    tokens, dimension = x.shape[1], x.shape[3]
    half = dimension // 2
    frequencies = 1.0 / MAX_PERIOD ** (jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.arange(tokens, dtype=jnp.float32)[:, None] * frequencies[None, :]  # [T, D/2]
    cos, sin = jnp.cos(angles)[None, :, None, :], jnp.sin(angles)[None, :, None, :]
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def sincos_table(grid: int, width: int) -> np.ndarray:
    """The fixed positions float32 [grid^2, width] of a grid, row by row.

    The first half of the width encodes the column and the second the row, each as sines, then
    cosines, at geometric frequencies (the two-dimensional table of arXiv:2111.06377).

    Raises:
      ValueError: the width is not a multiple of 4.
    """
    if width % 4:
        raise ValueError(f"sincos positions need a width that is a multiple of 4, not {width}")
    quarter = width // 4
    frequencies = MAX_PERIOD ** -(np.arange(quarter) / quarter)
    angles = np.arange(grid)[:, None] * frequencies  # [grid, width / 4]
    line = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    columns, rows = np.tile(line, (grid, 1)), np.repeat(line, grid, axis=0)
    return np.concatenate([columns, rows], axis=1).astype(np.float32)

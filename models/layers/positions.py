"""Where a token is: rotary positions, and a fixed table of a grid."""

import jax
import jax.numpy as jnp
import numpy as np

MAX_PERIOD = 10000.0


def rotate(x: jax.Array) -> jax.Array:
    """Rotary embedding of x [B, T, H, D] at positions 0 to T - 1, halves rotated.

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
    """Fixed positions of a grid [grid^2, width], rows of the image after each other, float32.

    The first half of the width tells the column and the second the row, each as sines, then
    cosines, at geometric frequencies (the two-dimensional table of arXiv:2111.06377).

    Raises:
      ValueError: four does not divide the width.
    """
    if width % 4:
        raise ValueError(f"sincos positions need a width that four divides, not {width}")
    quarter = width // 4
    frequencies = MAX_PERIOD ** -(np.arange(quarter) / quarter)
    angles = np.arange(grid)[:, None] * frequencies  # [grid, width / 4]
    line = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    columns, rows = np.tile(line, (grid, 1)), np.repeat(line, grid, axis=0)
    return np.concatenate([columns, rows], axis=1).astype(np.float32)

"""Maps [B, H, W, C] to half and to twice their size, with both derivatives that MeanFlow needs."""

import jax
import jax.numpy as jnp
import numpy as np

RESAMPLING = ("antialias", "strided")


def require_resampling(kind: str) -> None:
    """Raises ValueError for an unknown kind of resampling of CUT's networks."""
    if kind not in RESAMPLING:
        raise ValueError(f"resampling {kind!r} is not one of {', '.join(RESAMPLING)}")


def downsample(x: jax.Array, taps: tuple[float, ...]) -> jax.Array:
    """Halves the size of x [B, H, W, C], smoothed by the filter `taps` along each axis.

    Args:
      taps: an even number of weights, such as (1, 3, 3, 1); only their ratios matter. x is 0
        beyond its edges (Karras et al., arXiv:1912.04958, and EDM, arXiv:2206.00364).
    """
    height, width = x.shape[1:3]
    return _along_both_axes(x, _halving(height, taps), _halving(width, taps))


def upsample(x: jax.Array, taps: tuple[float, ...]) -> jax.Array:
    """Doubles the size of x [B, H, W, C]: four times the transpose of `downsample`."""
    height, width = x.shape[1:3]
    return _along_both_axes(x, 2 * _halving(2 * height, taps).T, 2 * _halving(2 * width, taps).T)


def blur_halve(x: jax.Array) -> jax.Array:
    """Halves the size of x [B, H, W, C], rounded up, smoothed by (1, 2, 1) / 4 along each axis.

    The map is mirrored at its edges (Zhang, "Making Convolutional Networks Shift-Invariant Again",
    arXiv:1904.11486, as in the release of CUT).
    """
    height, width = x.shape[1:3]
    return _along_both_axes(x, _mirrored_halving(height), _mirrored_halving(width))


def blur_double(x: jax.Array) -> jax.Array:
    """Doubles the size of x [B, H, W, C], smoothed by (1, 3, 3, 1) / 4 along each axis.

    Each value is 3/4 of the nearest pixel's and 1/4 of the next one's; beyond its edges the map
    repeats its outermost pixels, as in the release of CUT.
    """
    height, width = x.shape[1:3]
    return _along_both_axes(x, _repeated_doubling(height), _repeated_doubling(width))


def nearest(x: jax.Array) -> jax.Array:
    """Doubles the size of x [B, H, W, C], repeating each value four times."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def _halving(size: int, taps: tuple[float, ...]) -> np.ndarray:
    """The matrix [size / 2, size] that filters an axis with `taps` and keeps every second value."""
    if len(taps) % 2:
        raise ValueError(f"a filter needs an even number of taps, not {len(taps)}")
    pad = len(taps) // 2 - 1
    matrix = np.zeros((size // 2, size + 2 * pad), np.float32)
    for i in range(size // 2):
        matrix[i, 2 * i : 2 * i + len(taps)] = taps
    return matrix[:, pad : pad + size] / np.sum(taps, dtype=np.float32)


def _mirrored_halving(size: int) -> np.ndarray:
    """The matrix [ceil(size / 2), size] of `blur_halve`."""
    if size < 2:
        raise ValueError(f"a map of {size} pixels a side is too small to be mirrored; it needs 2")
    pixels = np.pad(np.arange(size), 1, mode="reflect")
    kept = np.arange(0, size, 2)
    return sum(w * np.eye(size)[pixels[kept + i]] for i, w in enumerate((0.25, 0.5, 0.25)))


def _repeated_doubling(size: int) -> np.ndarray:
    """The matrix [2 size, size] of `blur_double`."""
    pixels = np.pad(np.arange(size), 1, mode="edge")
    before, own, after = (np.eye(size)[pixels[i : i + size]] for i in range(3))
    both = np.stack([0.25 * before + 0.75 * own, 0.75 * own + 0.25 * after], axis=1)
    return both.reshape(2 * size, size)


def _along_both_axes(x: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    """Applies the matrices [P, H] and [Q, W] to the axes of x [B, H, W, C]: [B, P, Q, C].

    Batched matrix products leave every axis in place. Halving [64, 32, 32, 128] on two CPU cores
    takes a fifth of the time of shifted sums and a fifteenth of a depthwise convolution's, whose
    gradient takes 25 times as long; doubling takes nearly that of shifted sums.
    """
    batch, height, width, channels = x.shape
    x = _batched(rows, x.reshape(batch, height, width * channels))  # [B, P, W C]
    x = _batched(columns, x.reshape(-1, width, channels))  # [B P, Q, C]
    return x.reshape(batch, rows.shape[0], columns.shape[0], channels)


def _batched(matrix: np.ndarray, x: jax.Array) -> jax.Array:
    """The product of a matrix [P, N] with each of x [M, N, F]: [M, P, F]."""
    copies = jnp.broadcast_to(jnp.asarray(matrix, x.dtype)[None], (x.shape[0], *matrix.shape))
    return jax.lax.batch_matmul(copies, x)

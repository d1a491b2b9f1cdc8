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
    return _halved(_halved(x, axis=1), axis=2)


def blur_double(x: jax.Array) -> jax.Array:
    """Doubles the size of x [B, H, W, C], smoothed by (1, 3, 3, 1) / 4 along each axis.

    Each value is 3/4 of the nearest pixel's and 1/4 of the next one's; beyond its edges the map
    repeats its outermost pixels, as in the release of CUT.
    """
    return _doubled(_doubled(x, axis=1), axis=2)


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


# The blurs are sums over pairs of neighbours, which a reshape makes an axis of: of the maps of a
# generator of 256 x 256 images they take a third of the time of matrix products on two CPU cores,
# and sums of slices with a stride as much as these.


def _halved(x: jax.Array, axis: int) -> jax.Array:
    """`blur_halve` along one axis."""
    size = x.shape[axis]
    if size < 2:
        raise ValueError(f"a map of {size} pixels a side is too small to be mirrored; it needs 2")
    if size % 2:
        x = jnp.concatenate([x, _slice(x, size - 2, size - 1, axis)], axis)
    half = x.shape[axis] // 2
    pairs = x.reshape(*x.shape[:axis], half, 2, *x.shape[axis + 1 :])
    own, after = (jax.lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
    before = jnp.concatenate([_slice(after, 0, 1, axis), _slice(after, 0, half - 1, axis)], axis)
    return 0.25 * before + 0.5 * own + 0.25 * after


def _doubled(x: jax.Array, axis: int) -> jax.Array:
    """`blur_double` along one axis."""
    size = x.shape[axis]
    before = jnp.concatenate([_slice(x, 0, 1, axis), _slice(x, 0, size - 1, axis)], axis)
    after = jnp.concatenate([_slice(x, 1, size, axis), _slice(x, size - 1, size, axis)], axis)
    both = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis + 1)
    return both.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def _slice(x: jax.Array, start: int, stop: int, axis: int) -> jax.Array:
    return jax.lax.slice_in_dim(x, start, stop, axis=axis)


def _along_both_axes(x: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    """Applies the matrices [P, H] and [Q, W] to the axes of x [B, H, W, C]: [B, P, Q, C].

    Batched matrix products leave every axis in place. Halving [64, 32, 32, 128] on two CPU cores
    takes a fifth of the time of shifted sums and a fifteenth of a depthwise convolution's, whose
    gradient takes 25 times as long; doubling takes nearly that of shifted sums.
    """
    batch, height, width, channels = x.shape
    x = batched(rows, x.reshape(batch, height, width * channels))  # [B, P, W C]
    x = batched(columns, x.reshape(-1, width, channels))  # [B P, Q, C]
    return x.reshape(batch, rows.shape[0], columns.shape[0], channels)


def batched(matrix: np.ndarray, x: jax.Array) -> jax.Array:
    """The product of a matrix [P, N] with each of x [M, N, F]: [M, P, F]."""
    copies = jnp.broadcast_to(jnp.asarray(matrix, x.dtype)[None], (x.shape[0], *matrix.shape))
    return jax.lax.batch_matmul(copies, x)

"""Mean and covariance of feature vectors, streamed batch by batch without loss."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of a set of feature vectors.

    Attributes:
      n: the number of vectors.
      mean: float64 [D].
      covariance: float64 [D, D], unbiased as in `np.cov`.

    Raises:
      ValueError: the shapes do not match, or an entry is NaN or infinite.
    """

    n: int
    mean: np.ndarray
    covariance: np.ndarray

    def __post_init__(self):
        dimension = self.mean.shape[0] if self.mean.ndim == 1 else None
        if self.covariance.shape != (dimension, dimension):
            raise ValueError(
                f"moments need a mean [D] and a covariance [D, D], "
                f"got {self.mean.shape} and {self.covariance.shape}"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()):
            raise ValueError(
                f"the moments of {self.n} feature vectors are not finite: "
                "check the images and the weights of the feature network for NaN and infinity"
            )

    @functools.cached_property
    def covariance_factor(self) -> np.ndarray:
        """F [R, D] with F^T F = covariance, where R is the numerical rank; computed once.

        F = L^(1/2) V^T from the eigendecomposition V L V^T. Eigenvalues below the rounding error
        of the decomposition are dropped: they are noise around zero, but their square roots would
        not be small.
        """
        values, vectors = scipy.linalg.eigh(self.covariance, driver="evd")
        noise = len(values) * np.finfo(np.float64).eps * np.abs(values).max()
        kept = values > noise
        return np.sqrt(values[kept])[:, None] * vectors[:, kept].T


class MomentAccumulator:
    """Moments of features that arrive batch by batch, on the device, as float32.

    Batches wait on the device until they make a block of `block_rows` rows. The mean
    and centred second moments of a block are computed in float32 relative to one of its rows, so a
    mean of a thousand standard deviations loses no digits; blocks are combined on the host in
    float64. Blocks are larger than batches because each copies a [D, D] array to the host.
    """

    def __init__(self, dimension: int, block_rows: int = 4096):
        self._n = 0
        self._mean = np.zeros(dimension, np.float64)
        self._scatter = np.zeros((dimension, dimension), np.float64)
        self._block_rows = block_rows
        self._waiting: list[jax.Array] = []

    def update(self, features: jax.Array) -> None:
        """Adds features [B, D]; raises ValueError for another shape."""
        if features.ndim != 2 or features.shape[1] != len(self._mean):
            raise ValueError(
                f"expected features [B, {len(self._mean)}], got shape {features.shape}"
            )
        self._waiting.append(features)
        if sum(len(batch) for batch in self._waiting) >= self._block_rows:
            self._merge_waiting()

    def moments(self) -> Moments:
        """Moments of all rows so far; raises ValueError for fewer than two."""
        self._merge_waiting()
        if self._n < 2:
            raise ValueError(f"a covariance needs at least 2 feature vectors, got {self._n}")
        return Moments(self._n, self._mean.copy(), self._scatter / (self._n - 1))

    def _merge_waiting(self) -> None:
        n = sum(len(batch) for batch in self._waiting)
        if n == 0:
            return
        shift, offset, scatter = jax.device_get(_block_moments(tuple(self._waiting)))
        self._waiting = []
        mean = shift.astype(np.float64) + offset
        # Chan, Golub and LeVeque 1979, eq. 2.1: merge (n1, mean1, M1) with (n2, mean2, M2).
        total = self._n + n
        delta = mean - self._mean
        self._scatter += scatter
        self._scatter += np.outer(delta, delta * (self._n * n / total))
        self._mean += delta * (n / total)
        self._n = total


@jax.jit
def _block_moments(batches: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Shift [D], mean - shift [D] and centred second-moment sums [D, D] of the rows, float32."""
    rows = jnp.concatenate([batch.astype(jnp.float32) for batch in batches])  # [N, D]
    # A row of the block: the shift need only be near the mean, and a row is exact, while a mean
    # computed here may be fused into the subtraction unrounded and differ from the one returned.
    shift = rows[0]
    centred = rows - shift[None]
    offset = centred.mean(0)
    centred = centred - offset[None]
    # HIGHEST: the default precision on an accelerator rounds factors to 8 or 11 bits.
    scatter = jnp.matmul(centred.T, centred, precision=jax.lax.Precision.HIGHEST)
    return shift, offset, scatter

"""Frechet distance of two sets of features as Gaussians: FID on Inception features."""

from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from drifting.evaluation.metric import Metric, Need, Row
from drifting.evaluation.moments import Moments

if TYPE_CHECKING:
    from drifting.evaluation.comparison import Comparison


def frechet_distance(reference: Moments, other: Moments) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians, float64 on the host.

    |mu1 - mu2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)   (Dowson and Landau 1982; FID: Heusel et
    al. 2017, eq. 6). With S1 = F^T F, the last trace is the sum of the square roots of
    the eigenvalues of F S2 F^T. That matrix is symmetric and positive semi-definite, so the result
    is real, also for singular covariances. F is cached in the first argument: pass the moments
    that many checkpoints are compared with first.

    Raises ValueError if the two have different feature dimensions.
    """
    if reference.mean.shape != other.mean.shape:
        raise ValueError(
            f"moments of {reference.mean.shape[0]} and {other.mean.shape[0]} features cannot be "
            "compared: compute both with the same features and image shape"
        )
    factor = reference.covariance_factor
    product = factor @ other.covariance @ factor.T  # [R, R]
    cross = 0.0
    if len(product):  # R = 0: a reference of equal vectors
        values = scipy.linalg.eigh((product + product.T) / 2, eigvals_only=True, driver="evd")
        cross = np.sqrt(np.maximum(values, 0.0)).sum()
    squared_shift = np.sum((reference.mean - other.mean) ** 2)
    traces = np.trace(reference.covariance) + np.trace(other.covariance)
    return float(max(squared_shift + traces - 2.0 * cross, 0.0))


def distance(comparison: "Comparison") -> float:
    """The distance of the samples to the reference; also the numerator of MiFID."""
    return frechet_distance(comparison.reference.moments, comparison.samples.moments)


def _columns(comparison: "Comparison") -> dict[str, float]:
    return {"frechet_distance": comparison.once(distance)}


def _words(row: Row) -> str:
    mode = f", {row['fid_mode']}" if row["fid_mode"] else ""
    return f"Frechet distance ({row['features']}{mode}) {row['frechet_distance']:.4g}"


METRIC = Metric(
    "fid",
    columns=("frechet_distance",),
    needs=Need.MOMENTS,
    measure=_columns,
    words=_words,
    ranks_by="frechet_distance",
    drawn="frechet_distance",
    place=10,
)

"""Frechet distance of two sets of features as Gaussians: FID on Inception features."""

from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from drifting.evaluation.metric import Metric, Need, Row
from drifting.evaluation.moments import Moments

if TYPE_CHECKING:
    from drifting.evaluation.measured import Measured


def frechet_distance(reference: Moments, other: Moments) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians, float64 on the host.

    |mu1 - mu2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)   (Dowson and Landau 1982; FID: Heusel et
    al. 2017, eq. 6). With S1 = F^T F the last trace is the sum of the square roots of the
    eigenvalues of F S2 F^T, which is symmetric and positive semi-definite: never complex, and
    without trouble where a covariance is singular. F of the first argument is kept with it, so
    put the moments that many checkpoints are compared with first.

    Raises ValueError where the two have different feature dimensions.
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


def distance(measured: "Measured") -> float:
    """Of samples to the reference; what MiFID divides as well."""
    return frechet_distance(measured.reference.moments, measured.samples.moments)


def _columns(measured: "Measured") -> dict[str, float]:
    return {"frechet_distance": measured.once(distance)}


def _words(row: Row) -> str:
    mode = f", {row['fid_mode']}" if row["fid_mode"] else ""
    return f"Frechet distance ({row['features']}{mode}) {row['frechet_distance']:.4g}"


METRIC = Metric(
    "fid",
    columns=("frechet_distance",),
    needs=Need.MOMENTS,
    measure=_columns,
    words=_words,
    place=10,
)

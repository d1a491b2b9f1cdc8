"""The Frechet distance against pytorch-fid's and the symmetric route in double precision."""

import numpy as np
import pytest

from drifting.evaluation.metrics.frechet import Moments, frechet_distance

PAIRS = {  # relative tolerance; square roots of singular matrices are less accurate
    "well": 1e-6,
    "decaying": 1e-6,
    "diag": 1e-6,
    "zero_cov_vs_full": 1e-6,
    "near_singular": 1e-4,
    "one_singular": 1e-4,
    "identical": 0.0,
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_frechet_distance(golden, pair, order):
    numbers = golden("10_frechet_and_metrics.npz")
    first, second = (
        # The count, which is in no array, does not enter the distance.
        Moments(100, numbers[f"in.{pair}.mu{i}_f64"], numbers[f"in.{pair}.sigma{i}_f64"])
        for i in order
    )
    distance = frechet_distance(first, second)
    for source in ("sqrtm", "eigvals", "eigh_own"):
        expected = numbers[f"out.{pair}.fid_{source}_f64"]
        np.testing.assert_allclose(distance, expected, rtol=PAIRS[pair], atol=1e-4)

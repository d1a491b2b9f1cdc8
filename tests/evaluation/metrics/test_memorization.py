import numpy as np
import pytest
import scipy.spatial.distance as direct

from drifting.evaluation.metrics import memorization

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 8)).astype(np.float32)
Y = (RNG.standard_normal((45, 8)) + 0.5).astype(np.float32)


def test_memorization():
    assert memorization.memorization_distance(X, X[:10]) < 1e-6  # copies
    assert memorization.memorization_distance(X, -2.0 * X[:10]) < 1e-6  # of direction alone
    expected = np.mean((1 - np.abs(1 - direct.cdist(Y, X, "cosine"))).min(axis=1))
    zeros = np.zeros((3, 8), np.float32)
    found = memorization.memorization_distance(np.concatenate([X, zeros]), Y)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_mifid_punishes_only_what_is_near():
    assert memorization.mifid(20.0, 0.05) == pytest.approx(400.0)
    assert memorization.mifid(20.0, 0.3) == pytest.approx(20.0)
    assert memorization.mifid(20.0, 0.0) > 1e15

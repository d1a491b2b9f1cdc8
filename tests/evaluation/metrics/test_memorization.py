import numpy as np
import pytest
import scipy.spatial.distance as direct

from drifting.evaluation.metric import Undefined
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
    assert memorization.mifid(20.0, 0.0) == pytest.approx(2e15)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_copies_are_at_distance_zero(offset):
    real = RNG.standard_normal((400, 64)).astype(np.float32) + np.float32(offset)
    assert memorization.memorization_distance(real, real[50:90]) == 0.0
    assert memorization.memorization_distance(real, -real[50:90]) == 0.0  # of direction alone
    near = real[50:90] * (1 + 1e-3 * RNG.standard_normal((40, 1)))  # the same directions
    assert 0.0 <= memorization.memorization_distance(real, near) < 1e-14


def test_the_score_of_copies_is_a_stated_number():
    assert memorization.mifid(0.5, 0.0) == pytest.approx(0.5e14)
    assert memorization.mifid(1e-13, 0.0) == 0.0  # a rounding error of equal sets


def test_sets_without_directions_are_undefined():
    zeros = np.zeros((5, 8), np.float32)
    with pytest.raises(Undefined, match="all features of the samples are zero"):
        memorization.memorization_distance(X, zeros)
    with pytest.raises(Undefined, match="all features of the reference images are zero"):
        memorization.memorization_distance(zeros, X)
    mixed = np.concatenate([zeros, X[:3]])
    assert memorization.memorization_distance(X, mixed) == 0.0

"""Precision, recall, density and coverage where they are known, and against the direct formula."""

import functools

import numpy as np
import pytest
import scipy.spatial.distance as direct

from drifting.evaluation import pairwise
from drifting.evaluation.metrics import manifold

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 8)).astype(np.float32)
Y = (RNG.standard_normal((45, 8)) + 0.5).astype(np.float32)


def test_manifold_in_blocks(monkeypatch):
    monkeypatch.setattr(pairwise, "BLOCK_PAIRS", 7 * 45)  # the last block is not full
    real, fake = direct.cdist(X, X), direct.cdist(Y, Y)
    np.fill_diagonal(real, np.inf)
    np.fill_diagonal(fake, np.inf)
    real_radius, fake_radius = np.sort(real)[:, 2], np.sort(fake)[:, 2]
    between = direct.cdist(X, Y)
    found = manifold.compare(X, Y, k=3)
    np.testing.assert_array_equal(found.balls_of_fake, (between <= real_radius[:, None]).sum(0))
    np.testing.assert_array_equal(found.recalled, (between <= fake_radius[None]).any(1))
    np.testing.assert_array_equal(found.covered, between.min(1) <= real_radius)


def test_manifold_of_equal_and_of_distant_sets():
    assert manifold.compare(X, X).scores()["coverage"] == 1.0
    far = manifold.compare(X, X + 100.0).scores()
    assert far == {"precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0}
    with pytest.raises(ValueError, match="3 neighbours need at least 4 points per set"):
        manifold.compare(X, X[:3])


def direct_scores(real, fake, k=3):
    """As clovaai's prdc, on distances without rounding errors."""
    within, between = direct.cdist(real, real), direct.cdist(real, fake)
    np.fill_diagonal(within, np.inf)
    radius = np.sort(within, axis=1)[:, k - 1]
    density = (between < radius[:, None]).sum(axis=0).mean() / k
    return {"density": density, "coverage": (between.min(axis=1) < radius).mean()}


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_copies_are_not_in_the_balls_that_they_bound(offset):
    real = np.random.default_rng(1).standard_normal((300, 32)).astype(np.float32)
    real += np.float32(offset)
    all_of_them = manifold.compare(real, real[::-1]).scores()
    assert all_of_them == {"precision": 1.0, "recall": 1.0, "density": 1.0, "coverage": 1.0}
    some = real[np.random.default_rng(2).choice(300, 120, replace=False)]
    found = manifold.compare(real, some).scores()
    for name, value in direct_scores(real, some).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    assert 0.5 < found["coverage"] < 1.0 and found["precision"] == 1.0


def test_copies_of_duplicates():
    """Balls without radius include their centre, and have no inside."""
    real = np.repeat(np.random.default_rng(1).standard_normal((5, 32)), 4, axis=0) + 100.0
    found = manifold.compare(real, real).scores()
    assert found == {"precision": 1.0, "recall": 1.0, "density": 0.0, "coverage": 0.0}


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_neighbours_at_equal_distances_count_one_by_one(k):
    points = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0)), axis=-1).reshape(-1, 2)
    points = np.concatenate([points, points[:6]])  # and some at distance 0
    found = pairwise.map_rows(functools.partial(manifold._squared_radius, k=k), points, points)
    expected = np.sort(direct.cdist(points, points, "sqeuclidean"), axis=1)[:, k]
    np.testing.assert_allclose(found, expected, atol=1e-6)

"""Precision, recall, density and coverage where they are known, and against the direct formula."""

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

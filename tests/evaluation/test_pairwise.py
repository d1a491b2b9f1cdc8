"""Reductions over pairs, blockwise against direct formulas."""

import numpy as np
import pytest
import scipy.spatial.distance as direct

from drifting.evaluation import pairwise

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 8)).astype(np.float32)
Y = (RNG.standard_normal((45, 8)) + 0.5).astype(np.float32)


@pytest.fixture
def small_blocks(monkeypatch):
    """Seven rows a block: several blocks, and a last one that is not full."""
    monkeypatch.setattr(pairwise, "BLOCK_PAIRS", 7 * 45)


def test_rows_are_joined_in_order_without_padding(small_blocks):
    found = pairwise.map_rows(lambda rows, start, y: (rows[:, 0], rows @ y.T), X, Y)
    np.testing.assert_array_equal(found[0], X[:, 0])
    np.testing.assert_allclose(found[1], X @ Y.T, rtol=1e-4, atol=1e-5)


def test_a_block_knows_its_first_row(small_blocks):
    own = pairwise.map_rows(lambda rows, start, y: pairwise.own_pairs(rows, start, y), X, X)
    np.testing.assert_array_equal(own, np.eye(60, dtype=bool))


def test_squared_distances_far_from_zero():
    expected = direct.cdist(X, Y, "sqeuclidean")
    found = pairwise.squared_distances(X + 50.0, Y + 50.0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)

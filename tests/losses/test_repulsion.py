"""Repulsion by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.losses.repulsion import repulsion

POINTS = jnp.array([[0.0], [1.0], [3.0], [13.0]])


def test_how_much_nearer_than_the_margin_the_nearest_are():
    # Nearest others: at 1, 1, 2, 10. Two nearest: 1 3, 1 2, 2 3, 10 12.
    np.testing.assert_allclose(repulsion(POINTS, 1, 4.0), (3 + 3 + 2 + 0) / 4, rtol=1e-6)
    np.testing.assert_allclose(
        repulsion(POINTS, 2, 4.0), (3 + 1 + 3 + 2 + 2 + 1 + 0 + 0) / 8, rtol=1e-6
    )
    assert repulsion(POINTS, 1, 0.5) == 0.0
    assert repulsion(jnp.zeros((5, 32)), 2, 4.0) == 4.0  # one picture for all


def test_its_gradient_moves_near_samples_apart():
    slope = jax.grad(lambda x: repulsion(x, 1, 1.5))(POINTS[:3])
    # The first two are each other's nearest, at 1; the third is at 2, beyond the margin.
    np.testing.assert_allclose(slope, [[2 / 3], [-2 / 3], [0.0]], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: repulsion(x, 1, 1.5))(jnp.zeros((3, 2)))).all()


@pytest.mark.parametrize("k", [0, 4])
def test_more_neighbours_than_there_are_samples(k):
    with pytest.raises(ValueError, match=f"k = {k} is not in 1 to 3"):
        repulsion(POINTS, k, 1.0)

"""Weights of loss terms at their end points."""

import jax.numpy as jnp
import numpy as np
import pytest

from drifting.losses.weights import warm_down


def test_the_warm_down_at_its_end_points():
    steps = jnp.array([0, 250, 999, 1000, 5000])
    found = warm_down(steps, 0.1, 1000)
    np.testing.assert_allclose(found, [0.1, 0.075, 1e-4, 0.0, 0.0], rtol=1e-4)
    assert found[0] == np.float32(0.1) and found[3] == 0.0
    with pytest.raises(ValueError, match="last_step = 0 is below 1"):
        warm_down(0, 0.1, 0)

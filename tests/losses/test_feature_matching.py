"""Feature matching by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.losses.feature_matching import feature_matching


def test_the_distance_of_mean_maps():
    fake = (jnp.zeros((2, 1, 2, 1)), jnp.ones((2, 2, 2, 3)))
    real = (jnp.array([[1.0, -6.0], [3.0, 2.0]]).reshape(2, 1, 2, 1), jnp.full((4, 2, 2, 3), 0.5))
    # Mean maps of the first layer: (0, 0) and (2, -2); of the second: 1 and 0.5 everywhere.
    assert feature_matching(fake, real) == (2.0 + 0.5) / 2
    assert feature_matching(fake, fake) == 0.0
    with pytest.raises(ValueError, match="shorter"):
        feature_matching(fake, real[:1])


def test_only_fakes_get_a_gradient():
    fake, real = (jnp.full((2, 1, 1, 1), 3.0),), (jnp.ones((2, 1, 1, 1)),)
    slopes = jax.grad(feature_matching, argnums=(0, 1))(fake, real)
    np.testing.assert_array_equal(slopes[0][0], 0.5)  # half the mean map is each image's
    np.testing.assert_array_equal(slopes[1][0], 0.0)

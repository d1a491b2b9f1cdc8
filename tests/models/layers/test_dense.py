"""Dense layers by rows."""

import flax.linen as nn
import jax
import numpy as np

from models.layers.dense import Dense


def test_rows_are_those_of_a_dense_layer():
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    y, variables = Dense(7).init_with_output(jax.random.key(1), x)
    plain = nn.Dense(7).apply({"params": variables["params"]["dense"]}, x)
    assert y.shape == (2, 3, 4, 7)
    np.testing.assert_allclose(y, plain, rtol=1e-5, atol=1e-6)

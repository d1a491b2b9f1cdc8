"""Positions of tokens; goldens have the numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers.positions import rotate, sincos_table


def test_no_two_positions_are_alike():
    table = sincos_table(4, 32)
    assert len(np.unique(table.round(4), axis=0)) == 16
    np.testing.assert_array_equal(table[1, 16:], table[0, 16:])  # of one row
    np.testing.assert_array_equal(table[4, :16], table[0, :16])  # of one column


def test_a_width_that_four_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="width that is a multiple of 4, not 34"):
        sincos_table(4, 34)


def test_products_of_rotated_tokens_depend_on_their_distance():
    q, k = (jax.random.normal(jax.random.key(n), (1, 1, 1, 8)) for n in (0, 1))
    tokens = [rotate(jnp.broadcast_to(x, (1, 6, 1, 8)))[0, :, 0] for x in (q, k)]
    products = np.asarray(tokens[0] @ tokens[1].T)
    np.testing.assert_allclose(np.diag(products, 2), np.diag(products, 2)[0], rtol=1e-4)
    assert np.ptp(products[0]) > 1e-2

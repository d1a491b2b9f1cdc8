"""Convolutions: the forms for CPUs are those of XLA."""

import jax
import numpy as np
import pytest

from models.layers.convolution import convolve_by_product


@pytest.mark.parametrize(
    "kernel,stride,padding", [((3, 3), 1, (1, 1)), ((1, 7), 1, (0, 3)), ((3, 3), 2, (0, 0))]
)
def test_a_product_over_windows_is_a_convolution(kernel, stride, padding):
    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 3))
    kernel = jax.random.normal(jax.random.key(1), (*kernel, 3, 4))
    expected = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(p, p) for p in padding],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    np.testing.assert_allclose(
        convolve_by_product(x, kernel, stride, padding), expected, rtol=1e-4, atol=1e-4
    )

"""Convolutions: the forms for CPUs are those of XLA."""

import jax
import numpy as np
import pytest

from models.layers.convolution import (
    convolve_by_product,
    faint_init,
    reflected,
    transposed_conv3x3,
)


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


def test_a_transposed_convolution_adds_a_kernel_for_each_pixel():
    x = jax.random.normal(jax.random.key(0), (2, 3, 2, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))
    expected = np.zeros((2, 8, 6, 4))  # with a margin of one pixel on each side
    for i in range(3):
        for j in range(2):
            added = np.einsum("bc,klco->bklo", x[:, i, j], kernel)
            expected[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += added
    found = transposed_conv3x3(x, kernel)
    np.testing.assert_allclose(found, expected[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-5)


def test_a_map_is_mirrored_at_its_outermost_pixels():
    x = np.arange(12.0, dtype=np.float32).reshape(1, 3, 4, 1)
    found = reflected(x, 2)
    np.testing.assert_array_equal(found[0, 2, :, 0], [2, 1, 0, 1, 2, 3, 2, 1])
    np.testing.assert_array_equal(found[0, :, 2, 0], [8, 4, 0, 4, 8, 4, 0])
    with pytest.raises(ValueError, match="a map of 3 x 4 is too small to be mirrored by 3"):
        reflected(x, 3)


def test_faint_kernels():
    shape, key = (4, 4, 32, 96), jax.random.key(0)
    glorot = 0.02 * np.sqrt(2.0 / (16 * (32 + 96)))
    for kind, expected in (("xavier", glorot), ("normal", 0.02)):
        kernel = faint_init(kind)(key, shape)
        np.testing.assert_allclose(np.std(kernel), expected, rtol=0.02)
        # PyTorch truncates neither distribution.
        assert np.max(np.abs(kernel)) > 3.0 * expected

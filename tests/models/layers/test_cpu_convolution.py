"""Convolutions with gradients of their own against XLA's."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers import cpu_convolution
from models.layers.winograd import winograd3x3


def native(x, kernel, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def drawn(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def require_close(ours, reference):
    """To 1e-5 of the largest value."""
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(reference), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * jnp.abs(other).max())


@pytest.mark.parametrize(
    "kernel, channels, features, padding",
    [(7, 3, 8, 0), (7, 8, 3, 0), (3, 4, 8, 1), (3, 8, 4, 1), (4, 3, 5, 1), (3, 128, 128, 1)],
)
def test_values_and_gradients_are_those_of_xla(kernel, channels, features, padding):
    x = drawn(2, 9, 11, channels)
    weights = drawn(kernel, kernel, channels, features, seed=1)
    pairs = ((padding, padding),) * 2

    def both(convolve):
        y, pull_back = jax.vjp(convolve, x, weights)
        return y, pull_back(drawn(*y.shape, seed=2))

    ours = both(lambda x, w: cpu_convolution.convolution(x, w, (1, 1), pairs))
    require_close(ours, both(lambda x, w: native(x, w, pairs)))


@pytest.mark.parametrize("height, width", [(3, 3), (6, 5), (9, 4), (12, 12)])
def test_fewer_multiplications_give_the_same_convolution(height, width):
    x, kernel = drawn(2, height, width, 5), drawn(3, 3, 5, 7, seed=1)
    require_close(winograd3x3(x, kernel), native(x, kernel, "VALID"))


def of_r1(convolve, x, kernel):
    """A gradient of a gradient, as of R1."""

    def squared(kernel):
        of_x = jax.grad(lambda x: jnp.sum(jnp.tanh(convolve(x, kernel))))(x)
        return jnp.sum(jnp.square(of_x))

    return jax.grad(squared)(kernel)


def test_the_gradient_of_a_gradient():
    x, kernel, pairs = drawn(1, 8, 8, 3), drawn(4, 4, 3, 2, seed=1), ((1, 1), (1, 1))
    ours = of_r1(lambda x, w: cpu_convolution.convolution(x, w, (1, 1), pairs), x, kernel)
    require_close(ours, of_r1(lambda x, w: native(x, w, pairs), x, kernel))


def test_all_convolutions_have_the_axes_that_are_fast_in_branches_and_loops():
    x, kernel, pairs = drawn(1, 8, 8, 3), drawn(4, 4, 3, 2, seed=1), ((1, 1), (1, 1))
    text = jax.jit(
        lambda x, kernel: of_r1(
            lambda x, w: cpu_convolution.convolution(x, w, (1, 1), pairs), x, kernel
        )
    ).lower(x, kernel).as_text()  # fmt: skip
    axes = re.findall(r"dim_numbers = (\S+)x(\S+)->(\S+),", text.replace(", ", ","))
    assert len(axes) >= 5
    assert set(axes) == {("[b,0,1,f]", "[0,1,i,o]", "[b,0,1,f]")}


@pytest.mark.parametrize("options", [{"strides": 2}, {"kernel_dilation": 2}, {"padding": "SAME"}])
def test_layers_keep_their_other_options(options):
    x = drawn(1, 8, 8, 4)
    given = {"padding": 1, "features": 6, "kernel_size": (3, 3)} | options
    layer = nn.Conv(**given)
    variables = layer.init(jax.random.key(1), x)
    ours = nn.Conv(**given, conv_general_dilated=cpu_convolution.convolution)
    require_close(ours.apply(variables, x), layer.apply(variables, x))

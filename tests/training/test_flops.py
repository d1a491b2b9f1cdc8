"""Counted operations against formulas and against XLA's own count."""

import jax
import jax.numpy as jnp
import pytest

from drifting.training import flops


def product(x, y):
    return x @ y


X, Y = jnp.ones((3, 5)), jnp.ones((5, 7))


def test_a_product_and_its_gradient():
    assert flops.count(product, X, Y) == 2 * 3 * 5 * 7
    gradient = jax.grad(lambda x, y: jnp.sum(product(x, y) ** 2), argnums=(0, 1))
    assert flops.count(gradient, X, Y) == 3 * 2 * 3 * 5 * 7
    assert flops.count(jax.jit(jax.vmap(product)), jnp.ones((4, 3, 5)), jnp.ones((4, 5, 7))) == 840


def test_loops_and_branches():
    def scanned(x):
        return jax.lax.scan(lambda c, _: (c @ jnp.ones((5, 5)), None), x, length=6)[0]

    assert flops.count(scanned, X) == 6 * 2 * 3 * 5 * 5

    def branched(x):
        return jax.lax.cond(
            x[0, 0] > 0,
            lambda: x @ jnp.ones((5, 5)) @ jnp.ones((5, 2)),
            lambda: x @ jnp.ones((5, 2)),
        )

    assert flops.count(branched, X) == 2 * 3 * 5 * (5 + 2)
    with pytest.raises(ValueError, match="while loop"):
        flops.count(
            lambda x: jax.lax.fori_loop(0, x[0, 0].astype(int), lambda _, c: c @ c, x),
            jnp.ones((5, 5)),
        )


def test_convolution():
    images, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 16))

    def convolve(x, k):
        return jax.lax.conv_general_dilated(
            x, k, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    expected = 2 * (2 * 6 * 6 * 16) * (3 * 3 * 3)
    assert flops.count(convolve, images, kernel) == expected
    cost = jax.jit(convolve).lower(images, kernel).cost_analysis()
    assert cost["flops"] == pytest.approx(expected, rel=1e-3)


def test_convolutions_are_found_at_any_depth():
    x, k = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))

    def convolve(x):
        return jax.lax.conv(x, k.transpose(3, 2, 0, 1), (1, 1), "SAME")

    def inside(x):
        return jax.lax.fori_loop(0, 3, lambda i, x: jax.jit(convolve)(x), x)

    x = x.transpose(0, 3, 1, 2)
    assert flops.convolves(jax.make_jaxpr(inside)(x).jaxpr)
    assert not flops.convolves(jax.make_jaxpr(lambda x: x[0] @ x[0])(x).jaxpr)

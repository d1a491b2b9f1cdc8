"""The DiT: sizes, what its inputs do, and its derivatives; goldens have the numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import dit
from models.conditions import Condition

SMALL = dict(hidden_size=32, depth=1, num_heads=2)


def inputs(batch=4, size=4):
    z = jax.random.normal(jax.random.key(1), (batch, size, size, 3))
    t = jnp.linspace(0.3, 0.9, batch)
    return z, Condition(t, t / 3, jnp.arange(batch, dtype=jnp.int32) % 10)


@functools.cache
def drawn(**options):
    """(jitted apply, variables) of a small network with no zeros, where a fresh one has many."""
    model = dit.DiT(10, **SMALL, **options)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs())
    generator = np.random.default_rng(2)

    def draw(x):
        return jnp.asarray(0.1 * generator.standard_normal(x.shape), x.dtype)

    return jax.jit(model.apply), jax.tree.map(draw, shapes)


def test_a_fresh_network_is_zero():
    model = dit.DiT(10, **SMALL)
    u, _ = jax.jit(model.init_with_output)(jax.random.key(0), *inputs())
    assert u.shape == inputs()[0].shape
    np.testing.assert_array_equal(u, np.zeros(u.shape))


def test_bfloat16_computes_with_float32_parameters():
    apply, variables = drawn()
    model = dit.DiT(10, **SMALL, dtype=jnp.bfloat16)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs())
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    exact = apply(variables, *inputs())
    u = jax.jit(model.apply)(variables, *inputs())
    assert u.dtype == jnp.float32
    assert 0 < jnp.linalg.norm(u - exact) / jnp.linalg.norm(exact) < 0.05


@pytest.mark.parametrize("position", dit.POSITIONS)
def test_the_order_of_patches_matters(position):
    apply, variables = drawn(position=position)
    z, condition = inputs()
    turned = jnp.roll(z, 2, axis=1)  # by a whole patch: without positions the output turns too
    straight = apply(variables, z, condition)
    difference = apply(variables, turned, condition) - jnp.roll(straight, 2, axis=1)
    assert jnp.abs(difference).max() > 1e-3


def test_one_embedding_serves_both_ends_of_the_interval():
    apply, variables = drawn(shared_time=True)
    assert "h_embed" not in variables["params"]["conditioning"]
    z, condition = inputs()
    swapped = condition._replace(
        time=condition.time - condition.interval, interval=-condition.interval
    )
    np.testing.assert_allclose(
        apply(variables, z, swapped), apply(variables, z, condition), atol=1e-5
    )


@pytest.mark.slow
def test_derivatives_of_blocks_that_are_computed_again():
    """Forward mode, and reverse over forward, against central differences of the plain network."""
    apply, variables = drawn()
    model = dit.DiT(10, **SMALL, remat=True)
    z, (t, h, label, *_) = inputs()
    tangents = jnp.cos(jnp.arange(z.size, dtype=jnp.float32)).reshape(z.shape)

    @jax.jit
    def compute(variables, z, t, h):
        def loss(variables):
            def u(z, t, h):
                return model.apply(variables, z, Condition(t, h, label), train=True)

            ones = jnp.ones_like(t)
            u, du_dt = jax.jvp(u, (z, t, h), (tangents, ones, ones))
            return jnp.mean(u**2) + jnp.mean(du_dt**2), (u, du_dt)

        return jax.value_and_grad(loss, has_aux=True)(variables)

    (_, (u, du_dt)), grads = compute(variables, z, t, h)
    np.testing.assert_allclose(u, apply(variables, *inputs()), rtol=1e-4, atol=1e-5)
    e = 1e-2
    ahead = apply(variables, z + e * tangents, Condition(t + e, h + e, label))
    behind = apply(variables, z - e * tangents, Condition(t - e, h - e, label))
    np.testing.assert_allclose(du_dt, (ahead - behind) / (2 * e), rtol=2e-2, atol=5e-3)

    # A step along the gradient changes the loss by the gradient's square.
    step = jax.tree.map(lambda g: e * g, grads)
    ahead = compute(jax.tree.map(jnp.add, variables, step), z, t, h)[0][0]
    behind = compute(jax.tree.map(jnp.subtract, variables, step), z, t, h)[0][0]
    squared = sum(jnp.sum(g**2) for g in jax.tree.leaves(grads))
    np.testing.assert_allclose((ahead - behind) / (2 * e), squared, rtol=2e-2)


def test_a_block_that_is_computed_again_is_not_kept():
    """The residuals of the backward pass: with `remat` no attention weights [B, H, T, T]."""

    def kept(remat):
        model = dit.DiT(10, **SMALL, remat=remat)
        _, variables = drawn()

        def backward(variables):
            return jax.vjp(lambda v: model.apply(v, *inputs(size=8)), variables)[1]

        return [x.shape for x in jax.tree.leaves(jax.eval_shape(backward, variables))]

    assert (4, 2, 16, 16) in kept(False) and (4, 2, 16, 16) not in kept(True)


@pytest.mark.parametrize(
    "options,size,message",
    [
        (dict(patch_size=3), 4, "patch size 3 does not divide image size 4"),
        (dict(num_heads=5), 4, "5 heads do not divide a width of 32"),
        (dict(position="rotary"), 4, "position 'rotary' is not one of sincos, learned"),
        (dict(hidden_size=34), 4, "width that is a multiple of 4, not 34"),
    ],
)
def test_impossible_networks_are_refused(options, size, message):
    model = dit.DiT(10, **SMALL | options)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), *inputs(size=size))


def test_wrong_inputs_are_refused():
    z, condition = inputs()
    with pytest.raises(ValueError, match="must be square images"):
        jax.eval_shape(dit.DiT(10, **SMALL).init, jax.random.key(0), z[:, :2], condition)

"""The generator: exact sizes, shapes, and what its inputs do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import dit


def inputs(batch, size=8, channels=1):
    return (
        jax.random.normal(jax.random.key(1), (batch, size, size, channels)),
        jnp.arange(batch, dtype=jnp.int32) % 10,
        jnp.ones((batch,)),
        jnp.zeros((batch, dit.STYLE_TOKENS), jnp.int32),
    )


@pytest.mark.parametrize(
    "size,channels,expected",
    [
        ("tiny", 1, 8_958_480),
        ("tiny", 3, 8_974_896),
        ("small", 1, 26_568_080),
        ("small", 3, 26_592_688),
    ],
)
def test_parameter_counts(size, channels, expected):
    model = dit.DriftDiT(32, channels, 10, **dit.SIZES[size])
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs(1, 32, channels))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == expected


@pytest.fixture(scope="module")
def nano():
    model = dit.DriftDiT(8, 1, 10, **dit.SIZES["nano"])
    variables = jax.jit(model.init)(jax.random.key(0), *inputs(1))
    noisy = jax.tree.map(  # away from adaLN-Zero, where blocks are the identity
        lambda x: x + 0.1 * jax.random.normal(jax.random.key(2), x.shape), variables
    )
    return jax.jit(model.apply), variables, noisy


def test_fresh_samples_differ(nano):
    apply, variables, _ = nano
    images = apply(variables, *inputs(4))
    assert images.shape == (4, 8, 8, 1) and jnp.std(images, axis=0).min() > 0.01


@pytest.mark.parametrize("changed", [1, 2, 3])
def test_every_condition_has_an_effect(nano, changed):
    apply, _, variables = nano
    given = list(inputs(4))
    before = apply(variables, *given)
    given[changed] = given[changed] + 1
    assert jnp.abs(apply(variables, *given) - before).max() > 1e-3


def test_an_image_depends_on_its_own_inputs_alone(nano):
    apply, _, variables = nano
    whole = apply(variables, *inputs(4))
    noise, labels, scale, style = inputs(4)
    other = apply(variables, noise.at[0].set(0.0), labels, scale, style)
    np.testing.assert_allclose(whole[1:], other[1:], atol=1e-5)


@pytest.mark.slow
def test_bfloat16_computes_with_float32_parameters():
    model = dit.DriftDiT(8, 1, 10, **dit.SIZES["nano"], dtype=jnp.bfloat16)
    variables = jax.jit(model.init)(jax.random.key(0), *inputs(1))
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    images = jax.jit(model.apply)(variables, *inputs(4))
    exact = dit.DriftDiT(8, 1, 10, **dit.SIZES["nano"]).apply(variables, *inputs(4))
    assert images.dtype == jnp.float32
    np.testing.assert_allclose(images, exact, atol=0.1)


def test_patches_come_back():
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    tokens = dit.patchify(images, 4)
    assert tokens.shape == (2, 4, 48)
    np.testing.assert_array_equal(tokens[0, 1].reshape(4, 4, 3), images[0, :4, 4:])
    np.testing.assert_array_equal(dit.unpatchify(tokens, 4, 8), images)


def test_wrong_shapes_are_refused():
    model = dit.DriftDiT(8, 1, 10, **dit.SIZES["nano"])
    with pytest.raises(ValueError, match="noise has shape"):
        jax.eval_shape(model.init, jax.random.key(0), *inputs(1, size=16))
    odd = dit.DriftDiT(8, 1, 10, patch_size=3, **dit.SIZES["nano"])
    with pytest.raises(ValueError, match="patch size 3 does not divide"):
        jax.eval_shape(odd.init, jax.random.key(0), *inputs(1))

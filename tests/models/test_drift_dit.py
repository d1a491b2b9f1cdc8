"""The generator: exact sizes, shapes, and what its inputs do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import drift_dit
from models.conditions import STYLE_TOKENS, Condition


def inputs(batch, size=8, channels=1):
    condition = Condition(
        label=jnp.arange(batch, dtype=jnp.int32) % 10,
        guidance=jnp.ones((batch,)),
        style=jnp.zeros((batch, STYLE_TOKENS), jnp.int32),
    )
    return jax.random.normal(jax.random.key(1), (batch, size, size, channels)), condition


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
    model = drift_dit.DriftDiT(10, **drift_dit.SIZES[size])
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs(1, 32, channels))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == expected


@pytest.fixture(scope="module")
def nano():
    model = drift_dit.DriftDiT(10, **drift_dit.SIZES["nano"])
    variables = jax.jit(model.init)(jax.random.key(0), *inputs(1))
    noisy = jax.tree.map(  # away from adaLN-Zero, where blocks are the identity
        lambda x: x + 0.1 * jax.random.normal(jax.random.key(2), x.shape), variables
    )
    return jax.jit(model.apply), variables, noisy


def test_fresh_samples_differ(nano):
    apply, variables, _ = nano
    images = apply(variables, *inputs(4))
    assert images.shape == (4, 8, 8, 1) and jnp.std(images, axis=0).min() > 0.01


def test_an_image_depends_on_its_own_inputs_alone(nano):
    apply, _, variables = nano
    whole = apply(variables, *inputs(4))
    noise, condition = inputs(4)
    other = apply(variables, noise.at[0].set(0.0), condition)
    np.testing.assert_allclose(whole[1:], other[1:], atol=1e-5)


@pytest.mark.slow
def test_bfloat16_computes_with_float32_parameters():
    model = drift_dit.DriftDiT(10, **drift_dit.SIZES["nano"], dtype=jnp.bfloat16)
    variables = jax.jit(model.init)(jax.random.key(0), *inputs(1))
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    images = jax.jit(model.apply)(variables, *inputs(4))
    exact = drift_dit.DriftDiT(10, **drift_dit.SIZES["nano"]).apply(variables, *inputs(4))
    assert images.dtype == jnp.float32
    np.testing.assert_allclose(images, exact, atol=0.1)


def test_a_network_without_classes_ignores_labels():
    model = drift_dit.DriftDiT(0, **drift_dit.SIZES["nano"])
    z, condition = inputs(1)
    variables = jax.eval_shape(model.init, jax.random.key(0), z, condition)
    assert set(variables["params"]["conditioning"]) == {"cfg_in", "cfg_out", "style"}


def test_times_of_their_own_have_embeddings_of_their_own():
    model = drift_dit.DriftDiT(0, **drift_dit.SIZES["nano"])
    z = inputs(1)[0]
    for field, name in (("time", "t_embed"), ("interval", "h_embed")):
        condition = Condition(**{field: jnp.ones(1)})
        variables = jax.eval_shape(model.init, jax.random.key(0), z, condition)
        assert set(variables["params"]["conditioning"]) == {name}


def test_wrong_shapes_are_refused():
    z, condition = inputs(1)
    model = drift_dit.DriftDiT(10, **drift_dit.SIZES["nano"])
    with pytest.raises(ValueError, match="z has shape .*square images"):
        jax.eval_shape(model.init, jax.random.key(0), z[:, :4], condition)
    with pytest.raises(ValueError, match="10 classes needs labels"):
        jax.eval_shape(model.init, jax.random.key(0), z, condition._replace(label=None))
    odd = model.clone(patch_size=3)
    with pytest.raises(ValueError, match="patch size 3 does not divide image size 8"):
        jax.eval_shape(odd.init, jax.random.key(0), z, condition)

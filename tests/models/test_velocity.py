"""Velocity networks: one signature for all, by name, and differentiable both ways."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import flow_dit, velocity
from models.velocity_mlp import octaves

ONE_LEVEL = dict(model_channels=8, channel_mult=(1,), num_blocks=1, attention_resolutions=())
# The smallest network of each name: (values, shape of a sample).
SMALL = {
    "mlp": (dict(width=16, depth=2), (2,)),
    "cnn": (dict(width=8, depth=1), (4, 4, 1)),
    "unet": (dict(size="nano", **ONE_LEVEL), (4, 4, 1)),
    "film_unet": (dict(size="nano", **ONE_LEVEL), (4, 4, 1)),
    "dit": (dict(size="nano", hidden_size=16, depth=1), (4, 4, 1)),
}


def small(name, num_classes=3, dtype=jnp.float32):
    values, shape = SMALL[name]
    return velocity.create(name, values, shape, num_classes, dtype)


def inputs(name, batch=3):
    z = jax.random.normal(jax.random.key(1), (batch, *SMALL[name][1]))
    t = jnp.linspace(0.3, 0.9, batch)
    return z, t, t / 3, jnp.arange(batch, dtype=jnp.int32) % 3


def shapes_of(network, *given):
    return jax.eval_shape(network.init_with_output, jax.random.key(0), *given)


@functools.cache
def drawn(name):
    """Variables of a small network with no zeros, where a fresh one has many."""
    generator = np.random.default_rng(0)

    def draw(x):
        return jnp.asarray(0.3 * generator.standard_normal(x.shape), x.dtype)

    return jax.tree.map(draw, shapes_of(small(name), *inputs(name))[1])


def test_every_network_is_tested():
    assert set(SMALL) == set(velocity.NETWORKS)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_outputs_and_parameters_are_float32(name, dtype):
    z, *rest = inputs(name)
    u, variables = shapes_of(small(name, dtype=dtype), z, *rest)
    assert u.shape == z.shape and u.dtype == jnp.float32
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_fresh_network_is_zero(name):
    u, _ = jax.jit(small(name).init_with_output)(jax.random.key(0), *inputs(name))
    np.testing.assert_array_equal(u, np.zeros(u.shape))


@pytest.mark.parametrize("name", SMALL)
def test_labels_are_ignored_where_there_are_no_classes(name):
    z, t, h, labels = inputs(name)
    _, without = shapes_of(small(name, num_classes=0), z, t, h)
    _, ignored = shapes_of(small(name, num_classes=0), z, t, h, labels)
    _, used = shapes_of(small(name), z, t, h, labels)
    assert jax.tree.structure(without) == jax.tree.structure(ignored)
    rows = [x.shape[0] for p, x in jax.tree.leaves_with_path(used) if "label" in str(p)]
    assert rows == [3 + 1]
    assert len(jax.tree.leaves(without)) == len(jax.tree.leaves(used)) - 1
    with pytest.raises(ValueError, match="3 classes needs labels"):
        shapes_of(small(name), z, t, h)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_inputs_and_derivatives(name):
    """Every input acts on its own sample alone; du/dt and its gradient are true derivatives."""
    network, variables = small(name), drawn(name)
    z, t, h, labels = inputs(name)
    tangents, ones = jnp.cos(jnp.arange(z.size, dtype=jnp.float32)).reshape(z.shape), 1 + 0 * t

    @jax.jit
    def compute(scale, z, t, h, labels):
        def loss(scale):
            scaled = jax.tree.map(lambda x: scale * x, variables)

            def u(z, t, h):
                return network.apply(scaled, z, t, h, labels, train=True)

            u, du_dt = jax.jvp(u, (z, t, h), (tangents, ones, ones))
            return jnp.mean(u**2) + jnp.mean(du_dt**2), (u, du_dt)

        return jax.value_and_grad(loss, has_aux=True)(scale)

    (_, (u, du_dt)), gradient = compute(1.0, z, t, h, labels)
    e = 2e-3
    ahead = compute(1.0, z + e * tangents, t + e, h + e, labels)[0][1][0]
    behind = compute(1.0, z - e * tangents, t - e, h - e, labels)[0][1][0]
    np.testing.assert_allclose(du_dt, (ahead - behind) / (2 * e), rtol=2e-2, atol=2e-2)
    ahead, behind = (compute(1 + d, z, t, h, labels)[0][0] for d in (e, -e))
    np.testing.assert_allclose(gradient, (ahead - behind) / (2 * e), rtol=1e-2)

    for changed in range(4):
        given = [z, t, h, labels]
        given[changed] = given[changed].at[0].add(1)
        other = compute(1.0, *given)[0][1][0]
        assert jnp.abs(other - u)[0].max() > 1e-3, changed
        np.testing.assert_allclose(other[1:], u[1:], atol=1e-5)


def test_octaves_of_a_point():
    z = jnp.array([[0.5, -0.25]])
    angles = np.pi * np.array([0.5, 1.0, -0.25, -0.5])
    expected = np.concatenate([np.sin(angles), np.cos(angles)])[None]
    np.testing.assert_allclose(octaves(z, 2), expected, atol=1e-6)
    assert octaves(z, 0).shape == (1, 0)


def test_a_size_is_a_preset_and_the_other_values_override_it():
    network = velocity.create("dit", dict(size="B", depth=2, patch_size=4), (32, 32, 4), 1000)
    expected = flow_dit.SIZES["B"] | dict(depth=2, patch_size=4, num_classes=1000)
    assert {k: getattr(network, k) for k in expected} == expected


def test_a_config_read_back_from_json_gives_the_same_network(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Network:
        num_classes: int
        dtype: type
        multipliers: tuple = ()

    monkeypatch.setitem(velocity.NETWORKS, "cnn", (Network, {}, 3))
    given = [velocity.create("cnn", dict(multipliers=m), (8, 8, 1), 0) for m in ((1, 2), [1, 2])]
    assert given[0] == given[1] and hash(given[0]) == hash(given[1])


@pytest.mark.parametrize(
    "name,values,shape,message",
    [
        ("dot", {}, (8, 8, 1), "no velocity network 'dot'.*did you mean 'dit'"),
        ("dit", dict(size="XXL"), (8, 8, 1), "no size of dit 'XXL'.*did you mean 'XL'"),
        ("cnn", dict(size="S"), (8, 8, 1), "no size of cnn 'S'; there are none"),
        ("dit", dict(patch=2), (8, 8, 1), "no attribute of dit 'patch'.*did you mean 'patch_size'"),
        ("mlp", dict(dtype="float32"), (2,), "no attribute of mlp 'dtype'"),
        ("dit", dict(fused_attention=True), (8, 8, 1), "no attribute of dit 'fused_attention'"),
        ("mlp", {}, (8, 8, 1), "mlp takes samples of 1 axes, not .8, 8, 1.; .*cnn.*dit"),
        ("cnn", {}, (2,), "cnn takes samples of 3 axes, not .2,.; for these there are mlp"),
    ],
)
def test_what_there_is_not_is_refused_with_the_nearest(name, values, shape, message):
    with pytest.raises(ValueError, match=message):
        velocity.create(name, values, shape, 10)


@pytest.mark.parametrize("name", SMALL)
def test_other_samples_are_refused(name):
    z, t, h, labels = inputs(name)
    with pytest.raises(ValueError, match="z has shape"):
        shapes_of(small(name), z[..., None], t, h, labels)

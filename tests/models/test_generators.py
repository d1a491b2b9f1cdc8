"""Generator networks: one signature for all, honest about what they read, differentiable."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from models import registry
from models.conditions import STYLE_CODES, STYLE_TOKENS, Condition
from models.mlp import octaves

ONE_LEVEL = dict(model_channels=8, channel_mult=(1,), num_blocks=1, attention_resolutions=())
# The smallest network of each name: (values, shape of a sample).
SMALL = {
    "drift_dit": (dict(size="nano", hidden_size=16, depth=1), (4, 4, 1)),
    "drift_dit_latent": (dict(size="nano", hidden_size=16, depth=1), (4, 4, 1)),
    "mlp": (dict(width=16, depth=2), (2,)),
    "cnn": (dict(width=8, depth=1), (4, 4, 1)),
    "unet": (dict(size="nano", **ONE_LEVEL), (4, 4, 1)),
    "film_unet": (dict(size="nano", **ONE_LEVEL), (4, 4, 1)),
    "dit": (dict(size="nano", hidden_size=16, depth=1), (4, 4, 1)),
}
# Fields that have parameters of their own in every network that reads them.
OPTIONAL = {"guidance", "style"}


def small(name, num_classes=3, dtype=jnp.float32):
    values, shape = SMALL[name]
    return registry.create(name, values, shape, num_classes, dtype)


def samples(name, batch=3):
    return jax.random.normal(jax.random.key(1), (batch, *SMALL[name][1]))


def everything(batch=3):
    """A condition with all of its fields."""
    t = jnp.linspace(0.3, 0.9, batch)
    return Condition(
        time=t,
        interval=t / 3,
        label=jnp.arange(batch, dtype=jnp.int32) % 3,
        guidance=jnp.linspace(1.0, 3.0, batch),
        style=jax.random.randint(jax.random.key(2), (batch, STYLE_TOKENS), 0, STYLE_CODES - 1),
    )


def given(*fields):
    return everything().only(frozenset(fields))


def shapes_of(network, z, condition):
    """(output, variables), as shapes."""
    return jax.eval_shape(network.init_with_output, jax.random.key(0), z, condition)


def structure(name, condition, num_classes=3):
    return jax.tree.structure(shapes_of(small(name, num_classes), samples(name), condition)[1])


@functools.cache
def drawn(name):
    """Variables of a small network told everything, with no zeros, where a fresh one has many."""
    generator = np.random.default_rng(0)

    def draw(x):
        return jnp.asarray(0.3 * generator.standard_normal(x.shape), x.dtype)

    return jax.tree.map(draw, shapes_of(small(name), samples(name), everything())[1])


def initialized(name, condition):
    """A fresh network's parameters by path."""
    key = jax.random.key(0, impl="unsafe_rbg")  # which compiles sooner than the usual generator
    variables = jax.jit(small(name).init)(key, samples(name), condition)
    return traverse_util.flatten_dict(variables["params"])


def test_every_network_is_tested():
    assert set(SMALL) == set(registry.names("generator"))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_outputs_and_parameters_are_float32(name, dtype):
    z = samples(name)
    u, variables = shapes_of(small(name, dtype=dtype), z, everything())
    assert u.shape == z.shape and u.dtype == jnp.float32
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_fresh_network_is_zero(name):
    network = small(name)
    u, _ = jax.jit(network.init_with_output)(jax.random.key(0), samples(name), everything())
    np.testing.assert_array_equal(u, np.zeros(u.shape))


@pytest.mark.parametrize("name", SMALL)
def test_labels_are_ignored_where_there_are_no_classes(name):
    times, all_three = given("time", "interval"), given("time", "interval", "label")
    without = structure(name, times, num_classes=0)
    assert structure(name, all_three, num_classes=0) == without
    assert structure(name, all_three).num_leaves == without.num_leaves + 1
    _, used = shapes_of(small(name), samples(name), all_three)
    rows = [x.shape[0] for p, x in jax.tree.leaves_with_path(used) if "label" in str(p)]
    assert rows == [3 + 1]
    with pytest.raises(ValueError, match="3 classes needs labels"):
        shapes_of(small(name), samples(name), times)


@pytest.mark.parametrize("name", SMALL)
def test_parameters_are_made_of_what_is_given_alone(name):
    network = small(name)
    for field in Condition._fields:
        if field == "label":
            continue
        fewer, more = structure(name, given("label")), structure(name, given("label", field))
        own = field in network.reads & OPTIONAL or name == "drift_dit"
        assert (more.num_leaves > fewer.num_leaves) == own, field
        assert own or more == fewer, field


@pytest.mark.parametrize("name", SMALL)
def test_parameters_do_not_depend_on_what_is_not_given(name):
    fewer, more = initialized(name, given("label")), initialized(name, everything())
    assert fewer.keys() <= more.keys()
    for path, array in fewer.items():
        np.testing.assert_array_equal(array, more[path], err_msg=str(path))


@pytest.mark.parametrize("name", SMALL)
def test_what_is_read_acts_on_its_own_sample_and_nothing_else_does(name):
    network, variables, z = small(name), drawn(name), samples(name)
    apply = jax.jit(lambda z, condition: network.apply(variables, z, condition))
    before = apply(z, everything())
    assert jnp.abs(apply(z.at[0].add(1), everything()) - before)[0].max() > 1e-3
    for field, value in everything()._asdict().items():
        after = apply(z, everything()._replace(**{field: value.at[0].add(1)}))
        if field in network.reads:
            assert jnp.abs(after - before)[0].max() > 1e-4, field
            np.testing.assert_allclose(after[1:], before[1:], atol=1e-5, err_msg=field)
        else:
            np.testing.assert_array_equal(after, before, err_msg=field)


@pytest.mark.parametrize("name", ["drift_dit", "mlp", "cnn"])
def test_derivatives(name):
    """du/dt is the true one, and so is the gradient of what is made of it."""
    network, variables, z = small(name), drawn(name), samples(name)
    t, h, *_ = everything()
    tangents, ones = jnp.cos(jnp.arange(z.size, dtype=jnp.float32)).reshape(z.shape), 1 + 0 * t

    @jax.jit
    def compute(scale, z, t, h):
        def loss(scale):
            scaled = jax.tree.map(lambda x: scale * x, variables)

            def u(z, t, h):
                condition = everything()._replace(time=t, interval=h)
                return network.apply(scaled, z, condition, train=True)

            u, du_dt = jax.jvp(u, (z, t, h), (tangents, ones, ones))
            return jnp.mean(u**2) + jnp.mean(du_dt**2), (u, du_dt)

        return jax.value_and_grad(loss, has_aux=True)(scale)

    (_, (_, du_dt)), gradient = compute(1.0, z, t, h)
    e = 2e-3
    ahead = compute(1.0, z + e * tangents, t + e, h + e)[0][1][0]
    behind = compute(1.0, z - e * tangents, t - e, h - e)[0][1][0]
    np.testing.assert_allclose(du_dt, (ahead - behind) / (2 * e), rtol=2e-2, atol=2e-2)
    ahead, behind = (compute(1 + d, z, t, h)[0][0] for d in (e, -e))
    np.testing.assert_allclose(gradient, (ahead - behind) / (2 * e), rtol=1e-2)


@pytest.mark.parametrize("name", SMALL)
def test_fused_kernels_are_for_networks_that_have_them(name):
    network = small(name)
    fused = network.fused()
    if name in ("drift_dit_latent", "dit", "unet", "film_unet"):
        assert fused == network.clone(fused_attention=True) != network
    else:
        assert fused is network


@pytest.mark.parametrize("name", SMALL)
def test_other_samples_are_refused(name):
    with pytest.raises(ValueError, match="z has shape"):
        shapes_of(small(name), samples(name)[..., None], everything())


def test_octaves_of_a_point():
    z = jnp.array([[0.5, -0.25]])
    angles = np.pi * np.array([0.5, 1.0, -0.25, -0.5])
    expected = np.concatenate([np.sin(angles), np.cos(angles)])[None]
    np.testing.assert_allclose(octaves(z, 2), expected, atol=1e-6)
    assert octaves(z, 0).shape == (1, 0)

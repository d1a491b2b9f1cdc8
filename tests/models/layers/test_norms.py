"""Norms of maps and tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from models.layers import norms


def images(shape):
    return jax.random.normal(jax.random.key(0), shape)


def test_batch_norm_follows_the_batch_in_training_and_its_average_else():
    layer = norms.norm("batch", 3, True, jnp.float32, None)
    x = 3.0 + 2.0 * images((16, 8, 8, 3))
    y, changed = layer.apply(layer.init(jax.random.key(0), x), x, mutable="batch_stats")
    np.testing.assert_allclose(np.mean(y, (0, 1, 2)), np.zeros(3), atol=1e-5)
    np.testing.assert_allclose(np.std(y, (0, 1, 2)), np.ones(3), atol=1e-4)
    stats = changed["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * np.mean(x, (0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * np.var(x, (0, 1, 2)), rtol=1e-4)
    fixed = norms.norm("batch", 3, False, jnp.float32, None)
    params = {"scale": jnp.ones(3), "bias": jnp.zeros(3)}
    y = fixed.apply({"params": params, "batch_stats": stats}, x)
    mean, variance = (jnp.broadcast_to(s, x.shape) for s in (stats["mean"], stats["var"] + 1e-5))
    expected = (x - mean) / np.sqrt(variance)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_group_norm_is_of_one_image_and_the_largest_groups():
    largest = {8: 8, 24: 24, 48: 24, 64: 32, 144: 24, 960: 32, 37: 1}
    assert {c: norms.num_groups(c) for c in largest} == largest
    layer = norms.norm("group", 64, True, jnp.float32, None)
    scales = jnp.array([1.0, 50.0])[:, None, None, None]
    x = scales * jax.random.normal(jax.random.key(1), (2, 4, 4, 64))
    y, variables = layer.init_with_output(jax.random.key(0), x)
    groups = np.reshape(y, (2, 16, 32, 2))
    np.testing.assert_allclose(np.std(groups, (1, 3)), np.ones((2, 32)), atol=1e-4)
    assert set(variables) == {"params"}


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match="norm 'layer' is not one of batch, group"):
        norms.norm("layer", 3, True, jnp.float32, None)


@pytest.mark.parametrize("min_group,epsilon,groups", [(4, 1e-6, 12), (1, 1e-5, 32)])
def test_the_u_nets_group_norm_is_that_of_flax(min_group, epsilon, groups):
    channels = 48 if groups == 12 else 64
    x = 10.0 + jax.random.normal(jax.random.key(0), (2, 3, 4, channels)) * jnp.arange(
        1.0, channels + 1.0
    ).reshape(1, 1, 1, channels)
    params = {
        "scale": jnp.linspace(0.5, 2.0, channels),
        "bias": jnp.linspace(-1.0, 1.0, channels),
    }
    flax = nn.GroupNorm(groups, epsilon=epsilon, use_fast_variance=False)
    ours = norms.GroupNorm(min_group, epsilon, jnp.float32).apply({"params": params}, x)
    np.testing.assert_allclose(ours, flax.apply({"params": params}, x), rtol=1e-4, atol=1e-5)


def test_groups_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="36 channels do not split into 32 equal groups"):
        norms.GroupNorm(1, 1e-5, jnp.float32).init(jax.random.key(0), jnp.ones((1, 2, 2, 36)))


def test_a_norm_of_tokens_by_its_kind():
    x = 3.0 + 2.0 * images((2, 5, 16))
    y = norms.token_norm("layer", jnp.float32, None).apply({}, x)
    np.testing.assert_allclose(np.mean(y, -1), np.zeros((2, 5)), atol=1e-5)
    np.testing.assert_allclose(np.mean(np.square(y), -1), np.ones((2, 5)), rtol=1e-4)
    params = {"params": {"scale": jnp.full(16, 2.0), "bias": jnp.ones(16)}}
    affine = norms.token_norm("layer", jnp.float32, None, parameters=True).apply(params, x)
    np.testing.assert_allclose(affine, 2.0 * y + 1.0, rtol=1e-5)
    y = norms.token_norm("rms", jnp.bfloat16, None).apply({"params": {"weight": jnp.ones(16)}}, x)
    assert y.dtype == jnp.bfloat16
    expected = x / np.sqrt(np.mean(np.square(x), -1, keepdims=True))
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=1e-2)
    with pytest.raises(ValueError, match="norm 'batch' is not one of rms, layer"):
        norms.token_norm("batch", jnp.float32, None)


def test_an_instance_norm_is_of_each_channel_of_each_image():
    x = 3.0 + 2.0 * np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32)
    expected = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    np.testing.assert_allclose(norms.instance_norm(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)
    half = jnp.full((1, 2, 2, 1), 100.0, jnp.bfloat16)
    found = norms.instance_norm(half)
    assert found.dtype == jnp.bfloat16 and not np.any(found)

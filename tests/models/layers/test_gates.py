"""Attention and gates of translators, against hand formulas."""

import jax
import numpy as np
import pytest

from models.layers.gates import ChannelAttention, SelfAttention, StyleGate

NORMAL = jax.nn.initializers.normal(0.5)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(1.0, 2.0, (2, 3, 2, 16)).astype(np.float32)


def weights(layer, x):
    """Of the layer, as arrays of NumPy; biases are not 0."""
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
    draw = np.random.default_rng(1)
    return jax.tree.map(lambda s: draw.normal(0.0, 0.5, s.shape).astype(np.float32), shapes)


def dense(params, x):
    return x @ params["kernel"] + params["bias"]


def test_self_attention(x):
    layer = SelfAttention(NORMAL, "float32")
    params = weights(layer, x)
    flat = x.reshape(2, 6, 16)
    q, k, v = np.split(dense(params["qkv"], flat), 3, axis=-1)  # 2 channels each
    logits = np.einsum("btd,bsd->bts", q, k) / np.sqrt(2.0)
    attention = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = flat + params["gamma"] * dense(params["proj"], attention @ v)
    found = layer.apply({"params": params}, x)
    np.testing.assert_allclose(found, expected.reshape(x.shape), rtol=1e-4, atol=1e-5)
    started = layer.apply(layer.init(jax.random.key(0), x), x)
    np.testing.assert_array_equal(started, x)  # gamma is 0


def test_channel_attention(x):
    layer = ChannelAttention(NORMAL, "float32")
    params = weights(layer, x)
    squeezed = np.maximum(dense(params["squeeze"], x.mean((1, 2))), 0.0)
    expected = x * sigmoid(dense(params["excite"], squeezed))[:, None, None]
    found = layer.apply({"params": params}, x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_style_gate(x):
    params = weights(StyleGate(), x)
    of_mean, of_deviation, bias = params["weights"]
    expected = 2.0 * sigmoid(of_mean * x.mean((1, 2)) + of_deviation * x.std((1, 2)) + bias)
    found = StyleGate().apply({"params": params}, x)
    np.testing.assert_allclose(found[:, 0, 0], expected, rtol=1e-4)
    started = StyleGate().apply(StyleGate().init(jax.random.key(0), x), x)
    np.testing.assert_array_equal(started, np.ones_like(found))

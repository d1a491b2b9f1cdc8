"""Attention: the plain form, when the fused one is chosen, and what it is asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers.attention import attend, can_fuse, split_heads


def heads(dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 3)
    return [jax.random.normal(key, (2, 5, 3, 8)).astype(dtype) for key in keys]


def test_weights_are_a_softmax_over_the_keys():
    q, k, v = (np.asarray(x, np.float64) for x in heads())
    expected = np.zeros_like(v)
    for b in range(2):
        for h in range(3):
            weights = np.exp(q[b, :, h] @ k[b, :, h].T / np.sqrt(8))
            expected[b, :, h] = weights / weights.sum(axis=1, keepdims=True) @ v[b, :, h]
    np.testing.assert_allclose(attend(*heads()), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "backend,dtype,head_dim,expected",
    [
        ("gpu", jnp.bfloat16, 64, True),
        ("gpu", jnp.float16, 72, True),
        ("gpu", jnp.dtype("bfloat16"), 128, True),
        ("gpu", jnp.float32, 64, False),
        ("gpu", jnp.bfloat16, 36, False),
        ("gpu", jnp.bfloat16, 136, False),
        ("cpu", jnp.bfloat16, 64, False),
        ("tpu", jnp.bfloat16, 64, False),
    ],
)
def test_the_kernel_is_for_16_bits_on_a_gpu(backend, dtype, head_dim, expected):
    assert can_fuse(backend, dtype, head_dim) == expected


def test_the_plain_form_runs_where_the_kernel_cannot():
    inputs = heads(jnp.bfloat16)
    assert attend(*inputs).dtype == jnp.bfloat16
    np.testing.assert_array_equal(attend(*inputs, fused=True), attend(*inputs, fused=False))
    tangents = jax.jvp(lambda *x: attend(*x, fused=True), inputs, inputs)[1]
    assert np.isfinite(np.asarray(tangents, np.float32)).all()


def test_only_a_fused_call_reaches_the_kernel(monkeypatch):
    calls = []

    def kernel(q, k, v, implementation):
        calls.append((q.shape, k.shape, v.shape, implementation))
        return v

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.nn, "dot_product_attention", kernel)
    inputs = heads(jnp.bfloat16)
    attend(*inputs)
    attend(*heads(), fused=True)
    assert calls == []
    attend(*inputs, fused=True)
    assert calls == [((2, 5, 3, 8),) * 3 + ("cudnn",)]


def test_the_function_is_the_one_that_the_kernel_computes():
    expected = jax.nn.dot_product_attention(*heads(), implementation="xla")
    np.testing.assert_allclose(attend(*heads()), expected, rtol=1e-5, atol=1e-6)


def test_heads_are_split_in_order():
    qkv = jnp.arange(2 * 5 * 24, dtype=jnp.float32).reshape(2, 5, 24)
    q, k, v = split_heads(qkv, 2)
    assert q.shape == k.shape == v.shape == (2, 5, 2, 4)
    np.testing.assert_array_equal(k[1, 3, 1], qkv[1, 3, 12:16])
    with pytest.raises(ValueError, match="3 heads do not divide a width of 8"):
        split_heads(qkv, 3)

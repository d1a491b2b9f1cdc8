"""Micro-batches: sums and means over chunks equal those over the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.core.errors import ConfigError
from drifting.methods import gradients


def test_a_chunk_holds_every_third_row_of_the_axis():
    """So each of four devices, with three consecutive rows, keeps one row of each chunk."""
    x = jnp.arange(24).reshape(2, 12)
    chunks = gradients.in_chunks({"x": x}, 3, axis=1)["x"]
    assert chunks.shape == (3, 2, 4)
    for i, chunk in enumerate(chunks):
        np.testing.assert_array_equal(chunk, x[:, i::3])


def test_the_gradient_of_a_mean_is_the_mean_over_chunks():
    w, x = jnp.asarray([0.3, -0.2]), jax.random.normal(jax.random.key(0), (12, 2))

    def gradient(rows, key):
        del key

        def loss(w):
            return jnp.mean(jnp.tanh(rows @ w))

        return jax.grad(loss)(w), {"loss": loss(w), "statistics": {}}

    key = jax.random.key(1)
    whole = gradient(x, key)
    for count in (1, 3, 12):
        found = gradients.mean_over_chunks(gradient, x, key, count)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, whole)
    total = gradients.sum_over_chunks(lambda rows: jnp.sum(rows, axis=0), x.reshape(4, 3, 2))
    np.testing.assert_allclose(total, x.sum(axis=0), rtol=1e-5)


def test_each_chunk_draws_by_a_key_of_its_own():
    def draw(rows, key):
        return jax.random.normal(key, rows.shape).sum(axis=0, keepdims=True)

    found = gradients.mean_over_chunks(draw, jnp.zeros((4, 3)), jax.random.key(0), 2)
    keys = jax.random.split(jax.random.key(0), 2)
    wanted = sum(draw(jnp.zeros((2, 3)), key) for key in keys) / 2
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("count", [0, 5])
def test_parts_that_differ_are_refused(count):
    with pytest.raises(ConfigError, match=f"micro_batches = {count} does not divide the 12 rows"):
        gradients.require_division(count, 12, "the 12 rows")

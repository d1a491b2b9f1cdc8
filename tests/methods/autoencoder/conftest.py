"""Data, methods and a state that the tests of autoencoders share."""

import jax
import jax.numpy as jnp
import pytest
from small_autoencoder import JUDGED, make

from input_pipeline import sources


@pytest.fixture(scope="module")
def data():
    return sources.load("digits", image_size=8, channels=1).to_device()


@pytest.fixture(scope="module")
def method():
    return make()


@pytest.fixture(scope="module")
def state(method):
    """A state whose decoder's output depends on the latents, unlike that of a fresh one."""
    state = jax.jit(method.init)(jax.random.key(0))
    leaves, tree = jax.tree.flatten(state.params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    params = jax.tree.unflatten(tree, drawn)
    return state.replace(params=params, ema_params=jax.tree.map(jnp.array, params))


@pytest.fixture(scope="module")
def judged():
    return make(**JUDGED)

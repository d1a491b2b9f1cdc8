"""Warm-up, clipping, EMA and the optimiser step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base
from drifting import state as state_lib


def section(name, **changed):
    """A config.optimizer."""
    config = {"adamw": base.get_config, "sgd": base.classifier}[name]().optimizer
    config.update(dict(learning_rate=0.1, warmup_steps=10) | changed)
    return config


def rates(total=100, **changed):
    return state_lib.learning_rates(section("adamw", **changed), total)


def test_the_first_step_is_already_warming_up():
    schedule = rates(learning_rate=2e-4, warmup_steps=1000)
    np.testing.assert_allclose(schedule(0), 2e-7, rtol=1e-6)
    np.testing.assert_allclose(schedule(499), 1e-4, rtol=1e-6)
    np.testing.assert_allclose([schedule(999), schedule(5000)], 2e-4, rtol=1e-6)
    np.testing.assert_allclose(rates(learning_rate=0.1, warmup_steps=0)(0), 0.1, rtol=1e-6)


def adamw(**changed):
    values = dict(weight_decay=0.0, clip_norm=0.0)
    return state_lib.make_optimizer(section("adamw", **(values | changed)), 100)[0]


def step(optimizer, grads, params):
    state = state_lib.TrainState.create({"net": params}, {"net": optimizer})
    return state_lib.apply_gradients(state, {"net": grads}, {"net": optimizer}, 0.9, {})


def test_the_first_update_has_the_first_rate():
    params = {"w": jnp.zeros(3)}
    after = step(adamw(), {"w": jnp.asarray([1.0, -2.0, 3.0])}, params)
    np.testing.assert_allclose(after.params["net"]["w"], [-0.01, 0.01, -0.01], rtol=1e-4)
    assert after.step == 1


def test_average_of_the_parameters():
    params = {"w": jnp.ones(2)}
    after = step(adamw(), {"w": jnp.ones(2)}, params)
    new = after.params["net"]["w"]
    np.testing.assert_allclose(after.ema_params["net"]["w"], 0.9 + 0.1 * new, rtol=1e-6)


def test_gradients_are_clipped_by_their_global_norm():
    optimizer = adamw(clip_norm=1.0)
    reference = optax.adamw(rates(warmup_steps=10), b1=0.9, b2=0.95, weight_decay=0.0)
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    grads = {"a": jnp.full(1, 3.0), "b": jnp.full(1, 4.0)}
    s, r = optimizer.init(params), reference.init(params)
    _, s = optimizer.update(grads, s, params)
    _, r = reference.update(jax.tree.map(lambda x: x / 5.0, grads), r, params)
    moments = [optax.tree_utils.tree_get(x, "mu") for x in (s, r)]
    np.testing.assert_allclose(moments[0]["b"], moments[1]["b"], rtol=1e-6)


@pytest.mark.parametrize("decay,expected", [(0.0, 1.0), (0.5, 1.0 - 0.01 * 0.5)])
def test_weight_decay_is_decoupled(decay, expected):
    after = step(adamw(weight_decay=decay), {"w": jnp.zeros(1)}, {"w": jnp.ones(1)})
    np.testing.assert_allclose(after.params["net"]["w"], expected, rtol=1e-6)

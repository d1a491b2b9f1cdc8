"""Warm-up, clipping, EMA and the optimiser step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base
from drifting.core import optimizers
from drifting.core import state as state_lib
from drifting.core.errors import ConfigError


def section(name, /, **changed):
    """A config.optimizer."""
    config = base.of({"adamw": "drifting", "sgd": "classifier"}[name]).optimizer
    config.update(dict(learning_rate=0.1, warmup_steps=10) | changed)
    return config


def rates(total=100, **changed):
    return optimizers.learning_rates(section("adamw", **changed), total)


def test_the_first_step_is_already_warming_up():
    schedule = rates(learning_rate=2e-4, warmup_steps=1000)
    np.testing.assert_allclose(schedule(0), 2e-7, rtol=1e-6)
    np.testing.assert_allclose(schedule(499), 1e-4, rtol=1e-6)
    np.testing.assert_allclose([schedule(999), schedule(5000)], 2e-4, rtol=1e-6)
    np.testing.assert_allclose(rates(learning_rate=0.1, warmup_steps=0)(0), 0.1, rtol=1e-6)


def adamw(**changed):
    values = dict(weight_decay=0.0, clip_norm=0.0)
    return optimizers.make_optimizer(section("adamw", **(values | changed)), 100)[0]


def test_the_cosine_ends_where_it_should():
    schedule = rates(total=110, schedule="cosine", learning_rate=0.4)
    np.testing.assert_allclose(
        [schedule(0), schedule(9), schedule(10)], [0.04, 0.4, 0.4], rtol=1e-6
    )
    np.testing.assert_allclose(schedule(35), 0.4 * (2 + np.sqrt(2)) / 4, rtol=1e-6)
    np.testing.assert_allclose(schedule(60), 0.2, rtol=1e-5)
    assert 0 < schedule(109) < 1e-4
    assert schedule(110) == 0.0 and schedule(1000) == 0.0


def test_the_cosine_ends_at_the_final_rate():
    values = dict(learning_rate=2e-4, final_learning_rate=5e-5, warmup_steps=0)
    schedule = rates(schedule="cosine", **values)
    np.testing.assert_allclose([schedule(0), schedule(50)], [2e-4, 1.25e-4], rtol=1e-6)
    np.testing.assert_allclose([schedule(100), schedule(1000)], 5e-5, rtol=1e-7)


def test_the_line_falls_after_the_held_share():
    values = dict(learning_rate=0.4, schedule="linear", warmup_steps=4)
    schedule = rates(total=200, hold_share=0.75, **values)
    found = [schedule(step) for step in (0, 3, 4, 149, 150, 175, 199)]
    np.testing.assert_allclose(found, [0.1, 0.4, 0.4, 0.4, 0.4, 0.2, 0.008], rtol=1e-5)
    assert schedule(200) == 0.0 and schedule(1000) == 0.0
    schedule = rates(total=200, hold_share=0.75, final_learning_rate=0.1, **values)
    np.testing.assert_allclose([schedule(175), schedule(200)], [0.25, 0.1], rtol=1e-6)
    # A warm-up that is longer than the held share comes first.
    schedule = rates(total=12, hold_share=0.0, **values)
    np.testing.assert_allclose([schedule(3), schedule(4), schedule(8)], [0.4, 0.4, 0.2], rtol=1e-6)


@pytest.mark.parametrize(
    "changed,message",
    [
        ({"final_learning_rate": 0.01}, "final_learning_rate = 0.01 is never reached by the sch"),
        ({"schedule": "cosine", "final_learning_rate": -0.1}, "= -0.1 is not between 0 and the"),
        ({"schedule": "linear", "final_learning_rate": 0.2}, "= 0.2 is not between 0 and the le"),
        ({"schedule": "linear", "hold_share": 1.0}, r"optimizer.hold_share = 1.0 is not in \[0, 1"),
        ({"schedule": "linear", "hold_share": -0.5}, r"hold_share = -0.5 is not in \[0, 1\)"),
        ({"schedule": "linear", "warmup_steps": 100}, "nothing of the 100 steps for the linear"),
    ],
)
def test_rates_that_no_schedule_can_follow_are_refused(changed, message):
    with pytest.raises(ConfigError, match=message):
        rates(**changed)


def test_an_invalid_schedule_is_refused():
    with pytest.raises(ConfigError, match=r"optimizer.schedule = 'cosin' .*'cosine'"):
        rates(schedule="cosin")
    with pytest.raises(ConfigError, match="warmup_steps = 100 leaves nothing of the 100 steps"):
        rates(schedule="cosine", warmup_steps=100)
    with pytest.raises(ConfigError, match=r"optimizer.name = 'adam' .*'adamw'"):
        optimizers.make_optimizer(section("adamw", name="adam"), 100)


def test_sgd_is_pytorchs_with_nesterov_momentum_and_decay():
    values = dict(momentum=0.9, weight_decay=0.1, warmup_steps=0, schedule="constant")
    optimizer = optimizers.make_optimizer(section("sgd", **values), 100)[0]
    w, momentum = 2.0, 0.0
    state = state_lib.TrainState.create({"net": {"w": jnp.asarray([w])}}, {"net": optimizer}, {})
    for gradient in (1.0, -3.0, 0.5):
        grads = {"net": {"w": jnp.asarray([gradient])}}
        state = state_lib.optimize(state, grads, {"net": optimizer})
        # torch.optim.SGD: g += decay * w; m = 0.9 m + g; w -= rate * (g + 0.9 m).
        decayed = gradient + 0.1 * w
        momentum = 0.9 * momentum + decayed
        w -= 0.1 * (decayed + 0.9 * momentum)
    np.testing.assert_allclose(state.params["net"]["w"], [w], rtol=1e-6)
    assert state.ema_params == {}
    assert state.weights("net") is state.params["net"]


def step(optimizer, grads, params):
    state = state_lib.TrainState.create({"net": params}, {"net": optimizer}, {"net": 0.9})
    state = state_lib.optimize(state, {"net": grads}, {"net": optimizer})
    return state_lib.count(state_lib.average(state, {"net": 0.9}))


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


def test_two_optimisers_in_one_step_are_one_step():
    """And only the network that asks for an average has one."""
    params = {name: {"w": jnp.ones(1)} for name in ("generator", "discriminator")}
    nets = {name: adamw() for name in params}
    state = state_lib.TrainState.create(params, nets, {"generator": 0.9, "discriminator": 0.0})
    assert set(state.ema_params) == {"generator"}
    for name in params:
        state = state_lib.optimize(state, {name: {"w": jnp.ones(1)}}, nets)
    state = state_lib.count(state_lib.average(state, {"generator": 0.9}))
    assert state.step == 1
    for name in params:
        np.testing.assert_allclose(state.params[name]["w"], 0.99, rtol=1e-4)
    np.testing.assert_allclose(state.weights("generator")["w"], 0.999, rtol=1e-5)
    np.testing.assert_array_equal(
        state.weights("generator", ema=False)["w"], state.params["generator"]["w"]
    )
    np.testing.assert_array_equal(
        state.weights("discriminator")["w"], state.params["discriminator"]["w"]
    )

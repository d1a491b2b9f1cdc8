"""Averages of parameters: a million steps in float32 against float64, and the warm-up."""

import functools
import json

import facts
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base
from drifting import methods
from drifting.core import config as config_lib
from drifting.core import state as state_lib
from drifting.training import mesh as mesh_lib

DECAY, STEPS = 0.99995, 1_000_000
NETS = {"net": optax.identity()}


def targets(t):
    """Parameters at step t: three that stay, and three that move slowly or back and forth."""
    t = t.astype(jnp.float32)
    moving = [1.0 + 1e-7 * t, 3.0 - 2e-6 * t, 1.0 + 0.1 * jnp.sin(1e-4 * t)]
    return jnp.stack([jnp.float32(1.0), jnp.float32(-0.3), jnp.float32(7e-5), *moving])


START = np.asarray([0.0, 0.5, 1.0, 1.0, 3.0, 1.0], np.float32)


def averaged(decay, steps):
    """The weights that a state has after `steps` steps from START."""
    state = state_lib.TrainState.create({"net": jnp.asarray(START)}, NETS, {"net": decay})

    @functools.partial(jax.jit, donate_argnums=0)
    def run(state):
        def step(t, state):
            state = state.replace(params={"net": targets(t)})
            return state_lib.count(state_lib.average(state, {"net": decay}))

        return jax.lax.fori_loop(0, steps, step, state)

    return np.asarray(run(state).weights("net"))


def expected(decay_at, steps):
    """The same by the definition, on the same float32 parameters, in float64."""
    with jax.enable_x64(True):

        def step(t, mean):
            decay = decay_at(t.astype(jnp.float64))
            return decay * mean + (1.0 - decay) * targets(t).astype(jnp.float64)

        return jax.jit(lambda x: jax.lax.fori_loop(0, steps, step, x))(START.astype(np.float64))


def test_a_million_steps_reach_their_target():
    """Plain float32 stops 6e-4 short of 1, where a step rounds to nothing."""
    found = averaged(DECAY, STEPS)
    np.testing.assert_allclose(found, expected(lambda t: DECAY, STEPS), rtol=1e-6)
    np.testing.assert_allclose(found[:3], targets(jnp.int32(0))[:3], rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 10, 3000])
def test_warm_up(steps):
    decay = state_lib.WarmedUp(0.999)
    reference = expected(lambda t: jnp.minimum(0.999, (1.0 + t) / (10.0 + t)), steps)
    np.testing.assert_allclose(averaged(decay, steps), reference, rtol=1e-6)


@pytest.mark.parametrize("warmup", [False, True])
def test_the_config_says_whether_averages_warm_up(warmup):
    config = base.of("drifting")
    config.update(ema_decay=0.99, ema_warmup=warmup)
    (decay,) = methods.create(config, facts.make()).decays.values()
    shares = [state_lib.ema_share(decay, jnp.int32(t)) for t in (0, 80, 10_000)]
    np.testing.assert_allclose(shares, [0.9, 0.1, 0.01] if warmup else [0.01] * 3, rtol=1e-6)


def test_a_config_without_the_warm_up_has_none(tmp_path):
    """Versions before it wrote no such key to config.json."""
    config = base.of("drifting").to_dict()
    del config["ema_warmup"]
    (tmp_path / "config.json").write_text(json.dumps({"config": config}))
    assert config_lib.read(tmp_path / "config.json")[0].ema_warmup is False


def test_an_average_is_sharded_like_its_parameters():
    """On eight devices, with a donated state, as in training."""
    mesh = mesh_lib.make_mesh(2, 4, (8,))
    params = {"net": jnp.linspace(0.0, 1.0, 2**14).reshape(128, 128)}

    def init():
        return state_lib.TrainState.create(params, NETS, {"net": 0.9})

    shardings = mesh_lib.state_shardings(mesh, jax.eval_shape(init))
    state = jax.jit(init, out_shardings=shardings)()

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=shardings)
    def step(state):
        state = state.replace(params=jax.tree.map(lambda x: x + 1.0, state.params))
        return state_lib.average(state, {"net": 0.9})

    old = state
    state = step(old)
    assert old.ema_rest["net"].is_deleted()
    for part in (state.params, state.ema_params, state.ema_rest):
        assert part["net"].sharding.spec == jax.sharding.PartitionSpec("fsdp")
    np.testing.assert_allclose(state.weights("net"), params["net"] + 0.1, rtol=1e-6)

"""Checkpoints of versions that saved no remainder of the averages."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from drifting.core.state import TrainState
from drifting.training.checkpoints import CheckpointError, Checkpoints, restore

OPTIMIZERS = {name: optax.adam(1e-3) for name in ("generator", "field")}


def make(**sizes):
    params = {name: {"kernel": jnp.full((n, 3), float(n))} for name, n in sizes.items()}
    state = TrainState.create(params, OPTIMIZERS, {"generator": 0.9})
    return state.replace(ema_params=jax.tree.map(lambda x: 0.5 * x, state.ema_params))


@pytest.fixture
def saved(tmp_path):
    """A folder with the checkpoint of step 7, without the field `ema_rest`."""
    fields = vars(make(generator=4, field=2))
    store = Checkpoints(tmp_path / "checkpoints")
    store.save({name: value for name, value in fields.items() if name != "ema_rest"}, 7, {})
    store.close()
    return tmp_path / "checkpoints"


@pytest.mark.parametrize("optional", [(), ("field",)])
@pytest.mark.parametrize("sizes", [dict(generator=4, field=2), dict(generator=4)])
def test_the_averages_continue_where_they_were(saved, sizes, optional):
    shapes = jax.eval_shape(lambda: make(**sizes))
    if "field" not in sizes and not optional:
        with pytest.raises(CheckpointError, match="does not fit this model"):
            restore(saved, 7, shapes, optional)
        return
    state, _ = restore(saved, 7, shapes, optional)
    jax.tree.map(np.testing.assert_array_equal, state, make(**sizes))
    assert not np.any(state.ema_rest["generator"]["kernel"])
    np.testing.assert_array_equal(state.weights("generator")["kernel"], np.full((4, 3), 2.0))


def test_a_state_without_averages_is_saved_and_read(tmp_path):
    def plain():
        return TrainState.create({"generator": {"kernel": jnp.ones(3)}}, OPTIMIZERS, {})

    store = Checkpoints(tmp_path)
    store.save(plain(), 0, {})
    store.close()
    state, _ = restore(tmp_path, 0, jax.eval_shape(plain))
    jax.tree.map(np.testing.assert_array_equal, state, plain())
    assert state.ema_rest == {}

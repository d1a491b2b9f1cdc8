"""A state that diverged is never saved, and the message names a checkpoint that is good."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import weight_run
from weight_run import Weights

from drifting.core.state import TrainState
from drifting.training import checkpoints, divergence, loop
from drifting.training.divergence import TrainingDiverged


def state_with(part=None, value=0.0):
    """A small state, with one value of one part replaced."""
    params = {"generator": {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}}
    extra = {"labels": jnp.zeros(2, jnp.uint8), "mean": jnp.zeros(2)}
    state = TrainState.create(params, {"generator": optax.adam(1e-3)}, {"generator": 0.9}, extra)

    def put(tree):
        leaves, structure = jax.tree.flatten(tree)
        leaves[-1] = leaves[-1].at[(0,) * leaves[-1].ndim].set(value)
        return jax.tree.unflatten(structure, leaves)

    return state if part is None else state.replace(**{part: put(vars(state)[part])})


def test_a_sound_state_passes():
    assert divergence.find_unsound(state_with()) is None
    assert divergence.find_unsound(state_with("params", 1e18)) is None
    assert divergence.find_unsound(state_with("opt_state", 1e30)) is None  # squares of gradients


@pytest.mark.parametrize(
    ("part", "value", "where"),
    [
        ("params", np.nan, ".params['generator']['kernel']"),
        ("params", -np.inf, ".params['generator']['kernel']"),
        ("params", -1e20, ".params['generator']['kernel']"),  # its square overflows
        ("ema_params", np.nan, ".ema_params['generator']['kernel']"),
        ("ema_params", 1e38, ".ema_params['generator']['kernel']"),
        ("opt_state", np.inf, ".opt_state['generator'][0].nu['kernel']"),
        ("extra", np.nan, ".extra['mean']"),
    ],
)
def test_the_leaf_is_named(part, value, where):
    assert divergence.find_unsound(state_with(part, value)) == where


@pytest.mark.parametrize(
    ("steps", "resumed", "named"),
    [
        ([], None, "there is no checkpoint yet"),
        ([0, 4, 8], None, "the last good checkpoint is /run/8. Lower"),
        ([0, 4, 8], 4, "the last good checkpoint is /run/8. Lower"),
        ([0, 4, 8], 8, "resumed from /run/8, which may be bad already; the checkpoint before is "
                       "/run/4. Remove"),
        ([8], 8, "resumed from /run/8, which may be bad already, and there is none before it. Low"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_led_straight_to_a_divergence_is_not_called_good(steps, resumed, named):
    error = divergence.diverged("loss is nan", pathlib.Path("/run"), steps, resumed)
    assert named in str(error)


class Terms(Weights):
    """From step 3 on the second term is not finite, and with it all that depends on it."""

    terms = ("early", "middle", "loss", "grad_norm")

    def train_step(self, state, data, key, frozen):
        state, metrics = super().train_step(state, data, key, frozen)
        middle = jnp.where(state.step >= 3, jnp.inf, 2.0)
        early = 10.0 * state.step
        return state, {"loss": early - middle, "middle": middle, "early": early,
                       "grad_norm": metrics["grad_norm"], "unchecked": jnp.nan}  # fmt: skip


@pytest.mark.parametrize("per_call", [1, 4])
def test_the_first_term_that_is_not_finite_is_named(tmp_path, per_call):
    """With the metrics of that step, not of the end of the call, when all may be lost."""
    parts = weight_run.parts(8, Terms())
    schedule = dataclasses.replace(parts.schedule, log=4, checkpoint=4, per_call=per_call)
    parts.schedule = schedule
    with pytest.raises(TrainingDiverged) as error:
        loop.train(parts, tmp_path)
    told = "middle is not finite at step 3 (its metrics: early 30, grad_norm 1.403, loss -inf, mid"
    assert told in str(error.value)


@pytest.mark.parametrize("far", [np.nan, np.inf, 1e30])
def test_weights_that_explode_in_the_step_before_a_checkpoint_are_not_saved(tmp_path, far):
    """The loss of that step is finite, as it is the loss before the update."""
    folder = tmp_path / "checkpoints"
    with pytest.raises(TrainingDiverged) as error:
        loop.train(weight_run.parts(9, Weights(3, far), keep_checkpoints=9), tmp_path)
    assert "the state is not finite after step 3: .params['generator']['w']" in str(error.value)
    assert f"the last good checkpoint is {folder}/2. " in str(error.value)
    assert checkpoints.valid_steps(folder) == [0, 1, 2]

    with pytest.raises(TrainingDiverged) as error:  # resumed, it diverges at once
        loop.train(weight_run.parts(9, Weights(3, far), keep_checkpoints=9), tmp_path)
    assert f"resumed from {folder}/2, which may be bad already" in str(error.value)
    assert f"the checkpoint before is {folder}/1. " in str(error.value)
    assert checkpoints.valid_steps(folder) == [0, 1, 2]

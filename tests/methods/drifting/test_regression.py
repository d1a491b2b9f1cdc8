"""The generator's loss over features, and what gradient clipping makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base
from drifting.core import optimizers
from drifting.core import state as state_lib
from drifting.fields.kernel import Target
from drifting.methods.drifting import regression

BATCH = 4
INPUTS = np.linspace(-1.0, 1.0, BATCH * 3).reshape(BATCH, 3).astype(np.float32)
GOALS = (0.5, -2.0, 1.0)  # of three features, which have 1, 2 and 3 places


def phi_of(params, inputs, key):
    """Three linear features of three values each: [S, B, 3]."""
    del key
    return tuple(
        jnp.stack([(i + 1.0) * inputs * params["w"][None]] * (i + 1)) for i in range(len(GOALS))
    )


def targets_of(phi):
    targets = tuple(
        Target(jnp.full(f.shape, goal), jnp.ones((*f.shape[:-1], 1)), {})
        for f, goal in zip(phi, GOALS, strict=True)
    )
    return targets, None


def gradient(w):
    """Of the sum over features of mean_{b, d} (k x w - goal)^2, in float64."""
    x = INPUTS.astype(np.float64)
    return sum(
        2.0 * k * np.mean((k * x * w - goal) * x, axis=0) / x.shape[1]
        for k, goal in zip((1.0, 2.0, 3.0), GOALS, strict=True)
    )


def loss_and_grads(w, micro_batches=1, mean=False):
    weight = jnp.full((BATCH,), 1.0 / BATCH)
    params = {"w": jnp.asarray(w, jnp.float32)}
    value, grads, _ = regression.loss_and_grads(
        phi_of, targets_of, params, jnp.asarray(INPUTS), jax.random.key(0), weight, micro_batches,
        mean,
    )  # fmt: skip
    return value, grads


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_features_are_summed_or_averaged(micro_batches):
    w = np.asarray([3.0, -1.0, 2.0])
    (total, summed), (mean, averaged) = (
        loss_and_grads(w, micro_batches, mean) for mean in (False, True)
    )
    np.testing.assert_allclose(summed["w"], gradient(w), rtol=1e-5)
    np.testing.assert_allclose(averaged["w"], gradient(w) / 3.0, rtol=1e-5)
    expected = sum(
        np.mean((k * INPUTS * w - goal) ** 2) for k, goal in zip((1, 2, 3), GOALS, strict=True)
    )
    np.testing.assert_allclose([total, 3.0 * mean], expected, rtol=1e-5)


def test_clipped_updates_are_those_of_the_sum_over_features():
    """Two steps of AdamW with the default clip_norm of 2, by their formulas in float64.

    Only the first gradient is clipped, which Adam sees in the second step.
    """
    section = base.of("drifting").optimizer
    section.update(learning_rate=0.5, warmup_steps=1)
    assert section.clip_norm == 2.0
    optimizer, _ = optimizers.make_optimizer(section, 100)
    start = np.asarray([0.8, -0.2, 0.6])
    params = {"net": {"w": jnp.asarray(start, jnp.float32)}}
    state = state_lib.TrainState.create(params, {"net": optimizer}, {})
    w, mu, nu, norms = start.copy(), np.zeros(3), np.zeros(3), []
    for step in (1, 2):
        _, grads = loss_and_grads(state.params["net"]["w"])
        state = state_lib.optimize(state, {"net": grads}, {"net": optimizer})
        g = gradient(w)
        norms.append(np.linalg.norm(g))
        g *= min(1.0, 2.0 / norms[-1])
        mu, nu = 0.9 * mu + 0.1 * g, 0.95 * nu + 0.05 * g**2
        direction = mu / (1 - 0.9**step) / (np.sqrt(nu / (1 - 0.95**step)) + 1e-8)
        w -= 0.5 * (direction + 0.01 * w)
    assert norms[0] > 2.0 > max(norms[1], norms[0] / 3.0)  # the mean would not be clipped
    np.testing.assert_allclose(state.params["net"]["w"], w, rtol=1e-5)
    first_moment = optax.tree_utils.tree_get(state.opt_state["net"], "mu")["w"]
    np.testing.assert_allclose(first_moment, mu, rtol=1e-5)

"""Solvers: order of convergence, steps and evaluations as they are reported."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.flows import solvers

ORDERS = {"euler": 1, "heun": 2, "rk4": 4}


def rotation(z, t):
    """dz/dt = cos(t) J z turns z by sin(t) from t = 0 on."""
    return jnp.cos(t) * jnp.stack([-z[:, 1], z[:, 0]], axis=1)


def turned(z, angle):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return z @ turn.T


@pytest.mark.parametrize("name", solvers.SOLVERS)
def test_order_of_convergence(name):
    with jax.enable_x64(True):
        z = jnp.asarray([[1.0, 0.3], [-0.4, 2.0]])
        exact = turned(np.asarray(z), -np.sin(1.0))
        errors = [np.abs(solvers.solve(name, rotation, z, n)[0] - exact).max() for n in (16, 32)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(ORDERS[name], abs=0.15)


@pytest.mark.parametrize("name", solvers.SOLVERS)
@pytest.mark.parametrize("steps", [1, 3, 7])
def test_evaluations_and_times(name, steps):
    """Counted, and none outside of [0, 1]: N steps of 1 / N end at the end."""
    asked = []

    def f(z, t):
        asked.append(float(t))
        return jnp.ones_like(z)

    z = jnp.zeros((2, 2))
    with jax.disable_jit():
        last, way = solvers.solve(name, f, z, steps)
    assert len(asked) == solvers.evaluations(name, steps)
    assert max(asked) == 1.0
    assert min(asked) >= (0.0 if name != "euler" else 1.0 / steps - 1e-6)
    np.testing.assert_allclose(last, -1.0, rtol=1e-6)  # a unit velocity, followed from 1 to 0
    assert way.shape == (steps + 1, 2, 2)
    np.testing.assert_array_equal(way[0], z)
    np.testing.assert_array_equal(way[-1], last)


def test_a_step_of_meanflow_is_one_evaluation():
    assert [solvers.evaluations("meanflow", n) for n in (1, 2, 5)] == [1, 2, 5]


def test_follow_goes_from_time_to_time():
    seen = []
    with jax.disable_jit():
        solvers.follow(lambda z, t, s: seen.append((float(t), float(s))) or z, jnp.zeros((1,)), 4)
    assert seen == [(1.0, 0.75), (0.75, 0.5), (0.5, 0.25), (0.25, 0.0)]


def test_what_cannot_be():
    with pytest.raises(ValueError, match="unknown solver 'hoin'; use one of euler"):
        solvers.solve("hoin", rotation, jnp.zeros((1, 2)), 4)
    with pytest.raises(ValueError, match="0 steps"):
        solvers.solve("euler", rotation, jnp.zeros((1, 2)), 0)

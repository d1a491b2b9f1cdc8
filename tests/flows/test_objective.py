"""Properties of the objective: the identity that it rests on, and its exact solutions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from drifting.flows import objective, paths
from models.conditions import Condition
from models.mlp import MLP


def network(key):
    """A random u of points; its last layer, 0 before training, is random as well."""
    mlp = MLP(num_classes=0, width=16, depth=2)
    params = mlp.init(key, jnp.zeros((1, 2)), Condition())
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    leaves = [0.3 * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)]

    def of(params):
        return lambda z, t, h: mlp.apply(params, z, Condition(time=t, interval=h))

    return of, jax.tree.unflatten(tree, leaves)


def draw(key, n=64):
    keys = jax.random.split(key, 4)
    x, e = (jax.random.normal(k, (n, 2)) for k in keys[:2])
    r, t = paths.sample_intervals(keys[2], n, "uniform", 0.0, 1.0)
    return x, e, r, t


def test_derivative_equals_finite_differences():
    """Along the path: z moves by v, t by 1, r stays; h = t - r moves with t."""
    with jax.enable_x64(True):
        x, e, r, t = (a.astype(jnp.float64) for a in draw(jax.random.key(0)))

        def u(z, t, h):
            return jnp.sin(z) * (2.0 + t)[:, None] + jnp.square(h)[:, None] * jnp.cos(z[:, ::-1])

        z, v = paths.interpolate(x, e, t)
        _, du_dt = objective.mean_velocity(u, z, r, t, v)
        step = 1e-5
        ahead, behind = (
            u(paths.interpolate(x, e, t + d)[0], t + d, t + d - r) for d in (step, -step)
        )
        np.testing.assert_allclose(du_dt, (ahead - behind) / (2 * step), rtol=1e-7, atol=1e-8)


def test_target_has_no_gradient_and_the_primal_is_the_forward_pass():
    of, params = network(jax.random.key(1))
    x, e, r, t = draw(jax.random.key(0))
    z, v = paths.interpolate(x, e, t)

    def loss(params, held):
        u, _ = objective.mean_velocity(of(params), z, r, t, v)
        _, du_dt = objective.mean_velocity(of(held), z, r, t, v)
        target = objective.regression_target(v, r, t, du_dt)
        return jnp.sum(objective.squared_error(u, target))

    np.testing.assert_allclose(
        objective.mean_velocity(of(params), z, r, t, v)[0], of(params)(z, t, t - r), rtol=1e-6
    )
    assert all(np.all(g == 0) for g in jax.tree.leaves(jax.grad(loss, argnums=1)(params, params)))
    assert optax.tree.norm(jax.grad(loss)(params, params)) > 0


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0])
def test_adaptive_weight_scales_the_gradient(power):
    """The weight is stopped: d adaptive / d error = (error + epsilon)^-power."""
    errors = jnp.asarray([0.0, 1e-3, 1.0, 50.0])
    slope = jax.vmap(jax.grad(lambda e: objective.adaptive(e, power, 0.01)))(errors)
    np.testing.assert_allclose(slope, (errors + 0.01) ** -power, rtol=1e-5)


def test_exact_mean_velocity_of_a_linear_flow_has_no_residual():
    """For dz/ds = k(s) z, z_r = z_t S(r) / S(t): u = z (1 - S(r) / S(t)) / (t - r).

    k is the flow of normal data of deviation s: S(t)^2 = ((1 - t) s)^2 + t^2.
    """
    deviation = 0.3
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0))
        z = jax.random.normal(keys[0], (100, 2), jnp.float64)
        r, t = (
            a.astype(jnp.float64) for a in paths.sample_intervals(keys[1], 100, "uniform", 0.0, 1.0)
        )

        def size(t):
            return jnp.sqrt(jnp.square((1.0 - t) * deviation) + jnp.square(t))

        def u(z, t, h):
            return z * ((1.0 - size(t - h) / size(t)) / h)[:, None]

        growth = (t - (1.0 - t) * deviation**2) / jnp.square(size(t))
        v = z * growth[:, None]
        found, du_dt = objective.mean_velocity(u, z, r, t, v)
        target = objective.regression_target(v, r, t, du_dt)
        np.testing.assert_allclose(found, target, rtol=1e-9, atol=1e-10)


def test_training_recovers_the_exact_mean_velocity():
    """Of v(z, t) = a + b t: u = a + b (t - h / 2), so the weight of h is -b / 2, not + b / 2."""
    a, b = 0.7, -1.6

    def u(w):
        return lambda z, t, h: (w[0] + w[1] * t + w[2] * h)[:, None] + w[3] * z

    def loss(w, key):
        x, e, r, t = draw(key, 256)
        z, _ = paths.interpolate(x, e, t)
        v = jnp.broadcast_to((a + b * t)[:, None], z.shape)
        found, du_dt = objective.mean_velocity(u(w), z, r, t, v)
        return jnp.mean(objective.squared_error(found, objective.regression_target(v, r, t, du_dt)))

    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 1500))

    def step(carry, key):
        w, state = carry
        updates, state = optimizer.update(jax.grad(loss)(w, key), state)
        return (optax.apply_updates(w, updates), state), None

    w = jnp.asarray([0.0, 0.0, 1.0, 0.5])
    run = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys)[0][0])
    w = run((w, optimizer.init(w)), jax.random.split(jax.random.key(0), 1500))
    np.testing.assert_allclose(w, [a, b, -b / 2, 0.0], atol=2e-3)


def test_guidance_window_and_weights():
    v, null, conditional = (jnp.full((5, 2), value) for value in (1.0, 10.0, 100.0))
    t = jnp.asarray([0.0, 0.2, 0.5, 0.7, 1.0])
    guided = objective.guided_velocity(v, null, conditional, t, 0.5, 0.2, (0.2, 0.7))
    inside = 0.5 * 1.0 + 0.3 * 10.0 + 0.2 * 100.0
    np.testing.assert_allclose(guided[:, 0], [1.0, inside, inside, inside, 1.0], rtol=1e-6)
    plain = objective.guided_velocity(v, null, None, t, 1.0, 0.0, (0.0, 1.0))
    np.testing.assert_array_equal(plain, v)


def test_intervals_and_their_distribution():
    r, t = paths.sample_intervals(jax.random.key(0), 20_000, "logit_normal", -0.4, 1.0)
    assert np.all((r >= 0) & (r <= t) & (t <= 1))
    draws = jnp.concatenate([r, t])
    logits = np.log(draws / (1 - draws))
    assert np.mean(logits) == pytest.approx(-0.4, abs=0.03)
    assert np.std(logits) == pytest.approx(1.0, abs=0.03)
    uniform = paths.sample_times(jax.random.key(1), 20_000, "uniform", 0.0, 1.0)
    np.testing.assert_allclose(np.quantile(uniform, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02)

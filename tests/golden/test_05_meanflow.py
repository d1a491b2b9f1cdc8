"""The MeanFlow objective, its guidance and its sampler, and the ODE solvers, against numbers."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from array_names import found

from drifting.flows import objective, paths, solvers

LOSS = re.compile(r"out\.(lin|bilin)\.(vg|v)\.p([\d.]+)_eps([\d.]+)\.loss")
TORCH_LOSS = re.compile(r"out\.py\.(lin|bilin)\.v\.p([\d.]+)_eps([\d.]+)\.loss")
OTHER_LOSS = re.compile(
    r"out\.dz\.(lin|bilin)\.(natural_src_noise_tgt_data|swapped_src_data_tgt_noise)"
    r"\.p([\d.]+)_eps([\d.]+)\.loss"
)
GUIDED = re.compile(
    r"out\.guid\.(kappa([\d.]+)_omega([\d.]+)(?:_t([\d.]+)_([\d.]+))?)\.loss_p([\d.]+)_eps([\d.]+)"
)
TRAJECTORY = re.compile(r"out\.ode\.(\w+)\.N(\d+)\.trajectory_f64")
BACKWARD = re.compile(r"out\.ode\.(\w+)\.N(\d+)\.backward_1_to_0_f64")


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def g(golden):
    return golden("05_meanflow.npz")


def weights(g):
    return {k: jnp.asarray(g[f"w.{k}"]) for k in ("A", "b", "c", "d_label")}


def net(g, kind, w, labels=None):
    """u = A z + b t + c h (+ q t h z) (+ d[label]) on flattened pixels."""

    def u(z, t, h):
        flat, t, h = z.reshape(len(z), -1), t[:, None], h[:, None]
        out = flat @ w["A"].T + t * w["b"][None] + h * w["c"][None]
        if kind == "bilin":
            out += g["w.q"] * t * h * flat
        if labels is not None:
            out += w["d_label"][labels]
        return out.reshape(z.shape)

    return u


def errors_of(g, kind, w, v, labels=None, z=None):
    r, t = jnp.asarray(g["in.r"]), jnp.asarray(g["in.t"])
    z = paths.interpolate(g["in.x"], g["in.e"], t)[0] if z is None else z
    u, du_dt = objective.mean_velocity(net(g, kind, w, labels), z, r, t, v)
    target = objective.regression_target(v, r, t, du_dt)
    return objective.squared_error(u, target), (u, du_dt, target)


def loss_of(g, kind, w, v, power, epsilon, labels=None):
    errors, _ = errors_of(g, kind, w, v, labels)
    each = objective.adaptive(errors, power, epsilon)
    return jnp.mean(each), each


def velocity_of(g, name):
    return jnp.asarray(g["in.v_g"]) if name == "vg" else jnp.asarray(g["in.e"] - g["in.x"])


def test_path(g):
    z, v = paths.interpolate(g["in.x"], g["in.e"], jnp.asarray(g["in.t"]))
    close(z, g["in.z"])
    close(v, g["in.e"] - g["in.x"])


@pytest.mark.parametrize("kind", ["lin", "bilin"])
@pytest.mark.parametrize("which", ["vg", "v"])
def test_mean_velocity_and_target(g, kind, which):
    errors, (u, du_dt, target) = errors_of(g, kind, weights(g), velocity_of(g, which))
    prefix = f"out.{kind}.{which}"
    close(u, g[f"{prefix}.u"])
    close(du_dt, g[f"{prefix}.du_dt"])
    close(target, g[f"{prefix}.u_tgt"])
    close(errors, g[f"{prefix}.sq_err"])
    close(objective.squared_error(u, velocity_of(g, "v")), g[f"{prefix}.v_loss_monitor"])


def test_losses_and_gradients(g):
    for m in found(g, LOSS):
        kind, which, power, epsilon = m[1], m[2], float(m[3]), float(m[4])
        (loss, each), grads = jax.value_and_grad(
            lambda w, a=(kind, which, power, epsilon): loss_of(
                g, a[0], w, velocity_of(g, a[1]), *a[2:]
            ),
            has_aux=True,
        )(weights(g))
        stem = m[0].removeprefix("out.").removesuffix(".loss")
        close(each, g[f"out.{stem}.per_sample_loss"])
        close(loss, g[m[0]])
        for name in "Abc":
            close(grads[name], g[f"grad.{stem}.{name}"])


def test_losses_of_the_torch_release(g):
    for m in found(g, TORCH_LOSS):
        v = velocity_of(g, "v")
        args = (float(m[2]), float(m[3]))
        loss, each = loss_of(g, m[1], weights(g), v, *args)
        close(each, g[m[0].replace(".loss", ".per_sample_loss")])
        close(loss, g[m[0]])
        grad = jax.grad(lambda w, k=m[1], a=args, v=v: loss_of(g, k, w, v, *a)[0])(weights(g))
        close(grad["A"], g[m[0].replace("out.", "grad.").replace(".loss", ".A")])


def test_losses_of_the_other_convention(g):
    """With its roles swapped (source: data, target: noise) the third reference agrees with ours.
    As published, with noise at t = 0, the same formulas run in the opposite direction."""
    for m in found(g, OTHER_LOSS):
        source, target = ("e", "x") if m[2].startswith("natural") else ("x", "e")
        z, v = paths.interpolate(g[f"in.{source}"], g[f"in.{target}"], jnp.asarray(g["in.t"]))
        errors, (u, _, goal) = errors_of(g, m[1], weights(g), jnp.asarray(v), z=z)
        stem = f"out.dz.{m[1]}.{m[2]}"
        flat = (len(z), -1)
        close(z.reshape(flat), g[f"{stem}.z_t"])
        close(u.reshape(flat), g[f"{stem}.u"])
        close(goal.reshape(flat), g[f"{stem}.u_tgt"])
        each = objective.adaptive(errors, float(m[3]), float(m[4]))
        close(each, g[m[0].replace(".loss", ".per_sample_loss")])
        close(jnp.mean(each), g[m[0]])


def test_guidance(g):
    labels = jnp.asarray(g["in.labels"])
    null = jnp.full_like(labels, g["w.d_label"].shape[0] - 1)
    z, v = paths.interpolate(g["in.x"], g["in.e"], jnp.asarray(g["in.t"]))
    t, h = jnp.asarray(g["in.t"]), jnp.zeros(len(labels))
    for m in found(g, GUIDED):
        kappa, omega, start, end, power, epsilon = (
            None if s is None else float(s) for s in m.groups()[1:]
        )
        window = (0.0 if start is None else start, 1.0 if end is None else end)
        stem = f"out.guid.{m[1]}"

        def of(w, kappa=kappa, omega=omega, window=window, power=power, epsilon=epsilon):
            u_null, u_class = (net(g, "bilin", w, k)(z, t, h) for k in (null, labels))
            guided = objective.guided_velocity(v, u_null, u_class, t, omega, kappa, window)
            errors, (u, du_dt, _) = errors_of(g, "bilin", w, guided, labels)
            return jnp.mean(objective.adaptive(errors, power, epsilon)), (guided, u, du_dt)

        (loss, values), grads = jax.value_and_grad(of, has_aux=True)(weights(g))
        for value, name in zip(values, ("v_g", "u", "du_dt"), strict=True):
            close(value, g[f"{stem}.{name}"])
        close(loss, g[m[0]])
        close(grads["A"], g[f"grad.guid.{m[1]}.A"])


def test_meanflow_steps(g):
    u = net(g, "bilin", weights(g), jnp.asarray(g["in.labels"]))
    e, r, t = (jnp.asarray(g[f"in.{k}"]) for k in ("e", "r", "t"))
    close(e - paths.broadcast(t - r, e) * u(e, t, t - r), g["out.solver_step_from_e"])
    z, schedule = e, g["in.sample_schedule"]
    for t, s in itertools.pairwise(schedule):
        n = len(z)
        z = z - (t - s) * u(z, jnp.full((n,), t), jnp.full((n,), t - s))
    close(z, g[f"out.sample_{len(schedule) - 1}steps_from_e"])


def linear_field(g):
    m, b, c = (jnp.asarray(g[f"in.ode.{k}_f64"]) for k in ("M", "b", "c"))
    return lambda x, t: x @ m.T + t * b[None] + c[None]


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float64, 1e-10), (jnp.float32, 1e-5)])
def test_solvers(g, dtype, tolerance):
    equal = functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    with jax.enable_x64(dtype == jnp.float64):
        f, x0 = linear_field(g), jnp.asarray(g["in.ode.x0_f64"])
        assert x0.dtype == dtype
        forward = [m for m in found(g, TRAJECTORY) if m[1] in solvers.SOLVERS]
        assert {m[1] for m in forward} == set(solvers.SOLVERS)
        for m in forward:
            last, way = solvers.solve(m[1], f, x0, int(m[2]), start=0.0, end=1.0)
            equal(way, g[m[0]])
            equal(last, g[m[0]][-1])
            reference = m[0].replace("trajectory", "reference_final_state_after_N_plus_1_steps")
            if reference in g:  # one step too many: ours must differ
                assert np.abs(last - g[reference]).max() > 1e-3
        for m in (m for m in found(g, BACKWARD) if m[1] in solvers.SOLVERS):
            equal(solvers.solve(m[1], f, x0, int(m[2]))[0], g[m[0]])

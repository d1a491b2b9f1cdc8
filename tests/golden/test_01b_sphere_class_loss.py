"""The sphere form's loss over classes and feature scales against reference numbers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from drifting.fields import kernel


@pytest.fixture(scope="module")
def g(golden):
    return golden("01b_seed_class_loss.npz")


@pytest.fixture(scope="module")
def temperatures(g):
    """The temperatures as decimals: those in the file are rounded to float32."""
    return tuple(float(str(t)) for t in g["in.temperatures"])


def class_sets(g, generated, positives):
    """(generated, positives) [1, N, D] for each class that has both; sizes differ by class."""
    for label in np.unique(g["in.labels_gen"]):
        rows = np.flatnonzero(g["in.labels_pos"] == label)
        if len(rows):
            mine = np.flatnonzero(g["in.labels_gen"] == label)
            yield generated[mine][None], positives[rows][None]


def class_loss(g, scales, temperatures, field=None):
    """Plain means over (class, scale) pairs of loss and metrics; scales: (generated, positives)."""
    losses, metrics = [], []
    for generated, positives in scales:
        for x, y in class_sets(g, kernel.l2_normalize(generated), kernel.l2_normalize(positives)):
            target = kernel.sphere_target(x, y, temperatures)
            if field is not None:
                v = jnp.asarray(field(np.asarray(jax.lax.stop_gradient(x))[0], np.asarray(y)[0]))
                norm = {"drift_norm": jnp.sqrt(jnp.mean(jnp.square(v)))}
                target = kernel.Target(jax.lax.stop_gradient(x) + v[None], target.scale, norm)
            losses.append(kernel.regression_loss(x, target)[0])
            metrics.append(target.metrics)
    mean = {k: jnp.mean(jnp.stack([m[k] for m in metrics])) for k in metrics[0]}
    return jnp.mean(jnp.stack(losses)), mean


@pytest.mark.parametrize("case", ["multi_temp", "single_temp"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_flat_features(g, temperatures, case, dtype):
    used = temperatures if case == "multi_temp" else temperatures[:1]
    kind = "out" if dtype == jnp.float32 else "f64"
    with jax.enable_x64(dtype == jnp.float64):
        generated, positives = (
            jnp.asarray(g[f"in.flat.{n}"], dtype) for n in ("feat_gen", "feat_pos")
        )

        def loss_of(generated):
            return class_loss(g, [(generated, positives)], used)

        (loss, metrics), grad = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(generated)
    np.testing.assert_allclose(loss, g[f"{kind}.flat.{case}.loss"], rtol=1e-5)
    np.testing.assert_allclose(grad, g[f"{kind}.flat.{case}.grad_feat_gen"], rtol=0, atol=2e-6)
    for name in ("drift_norm", "feature_dist_mean", "feature_dist_var"):
        np.testing.assert_allclose(metrics[name], g[f"{kind}.flat.{case}.{name}"], rtol=1e-5)


def test_feature_maps_of_each_scale(g, temperatures):
    """The loss over as many scales as the file holds."""

    def pooled(maps):
        return jnp.mean(jnp.asarray(maps), axis=(2, 3))

    def loss_of(maps):
        scales = [(pooled(m), pooled(g[f"in.maps.pos{i}"])) for i, m in enumerate(maps)]
        return class_loss(g, scales, temperatures)

    names = itertools.takewhile(g.__contains__, (f"in.maps.gen{i}" for i in itertools.count()))
    maps = [jnp.asarray(g[name]) for name in names]
    assert maps
    assert len(maps) == sum(k.startswith("in.maps.gen") for k in g)
    (loss, metrics), grads = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(maps)
    np.testing.assert_allclose(loss, g["out.maps.loss"], rtol=1e-5)
    for name in ("drift_norm", "feature_dist_mean"):
        np.testing.assert_allclose(metrics[name], g[f"out.maps.{name}"], rtol=1e-5)
    for i, grad in enumerate(grads):
        np.testing.assert_allclose(grad, g[f"out.maps.grad_gen{i}"], rtol=0, atol=2e-6)


def learned_operator(g, x, y, mask_self):
    """S(x, y) of the learned field, pair by pair in float64: only its V is needed here."""
    w = {k.removeprefix("w.bank.fields.0."): v.astype(np.float64) for k, v in g.items()}

    def gelu(a):
        return 0.5 * a * (1.0 + scipy.special.erf(a / np.sqrt(2.0)))

    def linear(a, name):
        return a @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    def project(a):
        return linear(gelu(linear(a, "g.0")), "g.2")

    gx, gy = project(x), project(y)
    delta = gy[None] - gx[:, None]
    distance = np.linalg.norm(delta, axis=-1, keepdims=True)
    shape = delta.shape
    pair = np.concatenate(
        [np.broadcast_to(gx[:, None], shape), np.broadcast_to(gy[None], shape), delta, distance],
        axis=-1,
    )
    score = linear(gelu(linear(pair, "score_net.0")), "score_net.2")[..., 0]
    if mask_self:
        score = np.where(np.eye(*score.shape, dtype=bool), -np.inf, score)
        if len(y) == 1:
            return np.zeros_like(x)
    weight = scipy.special.softmax(score, axis=1)
    return linear(np.einsum("nm,nmd->nd", weight, delta), "out_proj")


@pytest.mark.slow  # test_03_learned_field.py has fast ones
def test_regression_on_a_learned_field(g, temperatures):
    """The loss is the same for any field; the reference's learned field is evaluated naively."""
    arrays = {k: v for k, v in g.items() if k.startswith("w.")}

    def field(x, y):
        x, y = x.astype(np.float64), y.astype(np.float64)
        v = learned_operator(arrays, x, y, False) - learned_operator(arrays, x, x, True)
        return v.astype(np.float32)

    generated, positives = (jnp.asarray(g[f"in.flat.{n}"]) for n in ("feat_gen", "feat_pos"))
    scales = [(generated, positives)]
    loss, metrics = class_loss(g, scales, temperatures, field)
    np.testing.assert_allclose(loss, g["out.learned.loss"], rtol=1e-5)
    np.testing.assert_allclose(metrics["drift_norm"], g["out.learned.drift_norm"], rtol=1e-5)

    def goals():
        for x, y in class_sets(g, *map(kernel.l2_normalize, (generated, positives))):
            yield x + jnp.asarray(field(np.asarray(x)[0], np.asarray(y)[0]))[None]

    fixed = list(goals())

    def loss_of(generated):
        sets = class_sets(g, kernel.l2_normalize(generated), kernel.l2_normalize(positives))
        one = jnp.ones((1, 1, 1))
        return jnp.mean(
            jnp.stack(
                [
                    kernel.regression_loss(x, kernel.Target(goal, one, {}))[0]
                    for (x, _), goal in zip(sets, fixed, strict=True)
                ]
            )
        )

    grad = jax.grad(loss_of)(generated)
    np.testing.assert_allclose(grad, g["out.learned.grad_feat_gen"], rtol=0, atol=2e-6)

"""The MeanFlow method: its split batch, its null class, its samplers, and its errors."""

import facts
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from drifting import methods
from drifting.core.errors import ConfigError
from drifting.flows import objective, paths
from drifting.methods import gradients
from drifting.methods.meanflow import draws
from drifting.methods.meanflow.method import MeanFlow
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Points
from models.conditions import Condition

FACTS = facts.make(Points((2,)), 3, 64)


def make(**changed):
    config = base.of("meanflow", "mlp")
    values = {"method.batch_size": 16, "method.num_diagnosed": 32, "model.width": 16,
              "model.depth": 1, "train.total_steps": 10, "optimizer.warmup_steps": 1}  # fmt: skip
    config.update_from_flattened_dict(values | changed)
    return methods.create(config, FACTS)


def data(shift=0.0):
    points = np.random.default_rng(0).normal(shift, 0.3, (64, 2)).astype(np.float32)
    labels = np.arange(64) % 3
    names, space = ("a", "b", "c"), Points((2,))
    return ImageSet(points, labels, names, "test", "train", space).to_device()


def random_state(method, key=0):
    """A state whose weights are all random: the output layer is 0 before training."""
    state = method.init(jax.random.key(key))
    leaves, tree = jax.tree.flatten(state.params)
    keys = jax.random.split(jax.random.key(key), len(leaves))
    leaves = [0.3 * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)]
    params = jax.tree.unflatten(tree, leaves)
    return state.replace(params=params, ema_params=params)


def batch(method, seed=0):
    x = jax.random.normal(jax.random.key(7), (method.batch_size, 2))
    labels = jnp.arange(method.batch_size) % method.num_classes
    keys = draws.Keys.of(jax.random.key(seed))
    return draws.examples(method.settings, method.num_classes, keys, x, labels)


@pytest.mark.parametrize("changed", [{}, {"method.loss": "improved"}])
def test_at_r_equal_to_t_the_loss_is_flow_matching(changed):
    """Value and gradient, with and without the Jacobian-vector product."""
    method = make(**changed)
    params = random_state(method).params["velocity"]
    (_, examples) = batch(method)
    assert np.all(examples.r == examples.t)

    def flow_matching(params):
        z, v = paths.interpolate(examples.x, examples.e, examples.t)
        h = jnp.zeros_like(examples.t)
        u = method.network.apply(
            {"params": params}, z, Condition(time=examples.t, interval=h, label=examples.labels)
        )
        return jnp.sum(jnp.square(u - v))

    wanted = jax.jit(jax.value_and_grad(flow_matching))(params)
    for r_neq_t in (False, True):
        found = jax.jit(jax.value_and_grad(
            lambda p, r_neq_t=r_neq_t: jnp.sum(
                method.errors(p, examples, r_neq_t, jax.random.key(0))
            )
        ))(params)  # fmt: skip
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *(
            found, wanted
        ))  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [{}, {"method.loss": "improved"}, {"method.guidance_omega": 2.0, "method.guidance_kappa": 0.3}],
)
def test_split_loss_equals_the_unsplit_one(changed):
    method = make(**changed)
    params = random_state(method).params["velocity"]
    parts = batch(method)
    assert [len(p.t) for p in parts] == list(method.parts) == [4, 12]
    whole = jax.tree.map(lambda *a: jnp.concatenate(a), *parts)
    key = jax.random.key(0)

    def unsplit(params):
        errors = method.errors(params, whole, True, key)
        return jnp.mean(
            objective.adaptive(errors, method.settings.norm_power, method.settings.norm_epsilon)
        )

    split = jax.value_and_grad(lambda p: method.mean_loss(p, parts, key)[0])
    loss, grads = jax.jit(split)(params)
    wanted, wanted_grads = jax.jit(jax.value_and_grad(unsplit))(params)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    scale = max(np.abs(g).max() for g in jax.tree.leaves(wanted_grads))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * scale),
        grads, wanted_grads,
    )  # fmt: skip


def test_improved_loss_moves_along_the_networks_own_velocity():
    method = make(**{"method.loss": "improved"})
    params = random_state(method).params["velocity"]
    examples = batch(method)[0]
    z, v = paths.interpolate(examples.x, examples.e, examples.t)

    def u(z, t, h):
        condition = Condition(time=t, interval=h, label=examples.labels)
        return method.network.apply({"params": params}, z, condition)

    own = u(z, examples.t, jnp.zeros_like(examples.t))
    found, du_dt = objective.mean_velocity(u, z, examples.r, examples.t, own)
    on_v = found + (examples.t - examples.r)[:, None] * du_dt - v  # the paper's form
    errors = method.errors(params, examples, True, jax.random.key(0))
    np.testing.assert_allclose(errors, jnp.sum(jnp.square(on_v), axis=1), rtol=1e-4)


def test_the_null_class_is_trained_with_r_below_t_too():
    """Labels are dropped independently of r = t."""
    method = make(**{"method.label_dropout": 0.3, "method.share_r_neq_t": 0.5})
    dropped = np.array([[p.dropped.mean() for p in batch(method, s)] for s in range(200)])
    np.testing.assert_allclose(dropped.mean(axis=0), 0.3, atol=0.04)
    assert abs(np.corrcoef(dropped.T)[0, 1]) < 0.25
    r_neq_t, r_eq_t = batch(method, 1)
    np.testing.assert_array_equal(r_neq_t.labels == 3, r_neq_t.dropped)
    assert np.all(r_neq_t.r < r_neq_t.t)
    assert np.all(r_eq_t.r == r_eq_t.t)


def test_dropped_rows_are_not_guided():
    method = make(**{"method.guidance_omega": 3.0, "method.label_dropout": 0.5})
    params = random_state(method).params["velocity"]
    examples = batch(method)[1]
    z, v = paths.interpolate(examples.x, examples.e, examples.t)
    guided = method._guided_velocity(params, examples, z, v)
    changed = np.any(np.asarray(guided != v), axis=1)
    np.testing.assert_array_equal(changed, ~np.asarray(examples.dropped))
    assert 0 < changed.sum() < len(changed)


def test_micro_batches_are_exact():
    whole, parts = make(), make(**{"method.micro_batches": 2})
    params = random_state(whole).params["velocity"]
    examples, key = batch(whole), jax.random.key(0)
    gradient = jax.grad(whole.mean_loss, has_aux=True)
    grads, metrics = jax.jit(gradient)(params, examples, key)
    split_grads, split_metrics = jax.jit(
        lambda parts, key: gradients.mean_over_chunks(
            lambda parts, key: gradient(params, parts, key), parts, key, 2
        )
    )(examples, key)
    assert parts.parts == (2, 6)
    for a, b in ((grads, split_grads), (metrics, split_metrics)):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-5), a, b)


def test_flow_matching_has_one_part_and_no_mean_velocity():
    method = make(**{"method.share_r_neq_t": 0.0, "method.sampler": "euler"})
    assert method.parts == (16,)
    (examples,) = batch(method)
    assert np.all(examples.r == examples.t)
    state = method.init(jax.random.key(0))
    state, metrics = jax.jit(method.train_step)(state, data(), jax.random.key(1), {})
    assert set(metrics) == {"loss", "error_r_eq_t", "grad_norm", "lr"}
    found = jax.eval_shape(method.diagnostics, state, jax.random.key(0), data())
    assert "one_step_error" not in found


def test_sampler_goes_from_noise_to_data():
    """The time direction: with the exact field of data at one point c, u = (z - c) / t, every
    sampler ends at c. Followed the other way it would run away from it."""
    method = make()
    c = jnp.asarray([[0.4, -0.7]])

    def exact(params, z, t, h, *_, **__):
        del params, h
        return (z - c) / jnp.maximum(t, 1e-6)[:, None]

    class Exact(MeanFlow):
        _velocity = staticmethod(exact)

    exact_method = Exact(**vars(method))
    state, labels = method.init(jax.random.key(0)), jnp.zeros((5,), jnp.int32)
    for sampler, steps in (("meanflow", 1), ("meanflow", 3), ("euler", 4)):
        chosen = exact_method.with_sampler(sampler, steps)
        found = chosen.sample(state, jax.random.key(1), labels)
        np.testing.assert_allclose(found, jnp.broadcast_to(c, (5, 2)), atol=1e-5)


def test_solvers_ask_for_the_instantaneous_velocity():
    method = make()
    asked = []

    def spy(params, z, t, h, *_, **__):
        asked.append((float(t[0]), float(h[0])))
        return jnp.zeros_like(z)

    class Spy(MeanFlow):
        _velocity = staticmethod(spy)

    spied = Spy(**vars(method))
    state, labels = method.init(jax.random.key(0)), jnp.zeros((1,), jnp.int32)
    for sampler, steps, nfe in (("heun", 3, 6), ("meanflow", 2, 2), ("meanflow", 1, 1)):
        asked.clear()
        chosen = spied.with_sampler(sampler, steps)
        with jax.disable_jit():
            chosen.sample(state, jax.random.key(1), labels)
        assert len(asked) == nfe == chosen.nfe(1.0) == chosen.nfe(2.0) // 2
        if sampler == "heun":
            assert all(h == 0.0 for _, h in asked)
        else:
            assert asked == [(1.0 - i / steps, 1.0 / steps) for i in range(steps)]


def test_guidance_at_sampling_extrapolates_from_the_null_class():
    method = make()
    state = random_state(method)
    z = jax.random.normal(jax.random.key(1), (4, 2))
    labels = jnp.asarray([0, 1, 2, 0])
    t = h = jnp.ones(())
    plain = method.field(state, labels)(z, t, h)
    null = method.field(state, jnp.full((4,), 3))(z, t, h)
    guided = method.field(state, labels, 2.5)(z, t, h)
    np.testing.assert_allclose(guided, null + 2.5 * (plain - null), rtol=1e-4, atol=1e-5)
    assert np.abs(guided - plain).max() > 1e-3
    with pytest.raises(ConfigError, match="no null class"):
        make(**{"method.label_dropout": 0.0}).sample(state, jax.random.key(0), labels, 2.0)


def test_energy_distance_in_training_has_its_floor():
    method = make()
    found = jax.jit(method.diagnostics)(method.init(jax.random.key(0)), jax.random.key(0), data())
    assert found["energy_distance"] > 5 * found["energy_distance_real"] > 0
    assert {"energy_distance", "energy_distance_real", "one_step_error"} == set(found)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"method.loss": "menflow"}, "did you mean 'meanflow'"),
        ({"method.times": "logitnormal"}, "did you mean 'logit_normal'"),
        ({"method.sampler": "eulr"}, "did you mean 'euler'"),
        ({"method.sampling_steps": 0}, "sampling_steps = 0 must be at least 1"),
        ({"method.share_r_neq_t": 1.5}, r"not in \[0, 1\]"),
        ({"method.share_r_neq_t": 0.0}, "only instantaneous ones are learned"),
        ({"method.share_r_neq_t": 0.01}, "less than one row"),
        ({"method.micro_batches": 8}, "does not divide"),
        ({"method.guidance_omega": 2.0, "method.label_dropout": 0.0}, "null class"),
        ({"data.flip": True}, "points have no left"),
        ({"model.name": "mpl"}, "did you mean 'mlp'"),
        ({"method.batch_size": 128}, "64 points"),
    ],
)
def test_bad_configs(changed, message):
    with pytest.raises(ConfigError, match=message):
        make(**changed)

"""The drifting method: exact micro-batches, guidance, queues, encoder features."""

import dataclasses

import facts
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base
from drifting import methods
from drifting.core.errors import ConfigError
from drifting.core.state import TrainState
from drifting.fields import kernel
from drifting.methods import features as feature_lib
from drifting.methods.drifting import draws
from drifting.methods.drifting.learned_field import Networks
from drifting.methods.drifting.method import Drifting
from input_pipeline import sources
from input_pipeline.streaming import Batch

FACTS = facts.make()
NORMS = ("grad_norm", "field_grad_norm")


def make(features=feature_lib.pixels, learned=None, clip_norm=2.0, **changed):
    """A one-block method on 8x8 digits, 4 images per class and step; `learned`: config.field."""
    config = base.of("drifting")
    if learned is not None:
        config.method.field = "learned"
        config.field.update(dict(hidden=8, projection=6, score_hidden=5) | learned)
    config.optimizer.clip_norm = config.field_optimizer.clip_norm = clip_norm
    config.model.size = "nano"
    config.model.num_registers = 2
    config.method.update(dict(num_generated=4, num_positives=6, num_unconditional=3) | changed)
    method = methods.create(config, FACTS)
    small = method.network.clone(depth=1, hidden_size=16, num_heads=1)
    return dataclasses.replace(method, network=small, features=features)


@pytest.fixture(scope="module")
def digits():
    return sources.load("digits", image_size=8, channels=1).to_device()


def steps(method, data, n=1, seed=0):
    state = jax.jit(method.init)(jax.random.key(seed))
    step = jax.jit(method.train_step)
    history = []
    for i in range(n):
        state, metrics = step(state, data, jax.random.fold_in(jax.random.key(7), i), {})
        history.append(jax.device_get(metrics))
    return state, history


@pytest.mark.parametrize(
    ("form", "field", "chunks"),
    [
        # tests/methods/drifting/test_regression.py and test_sharded_field.py have fast ones
        pytest.param("distance", None, 2, marks=pytest.mark.slow),
        pytest.param("sphere", None, 2, marks=pytest.mark.slow),
        pytest.param("distance", {"steps": 2}, 2, marks=pytest.mark.slow),
        pytest.param("sphere", None, 8, marks=pytest.mark.slow),
        pytest.param("distance", None, 8, marks=pytest.mark.slow),
        pytest.param("sphere", {}, 2, marks=pytest.mark.slow),
    ],
)
def test_micro_batches_are_exact(digits, form, field, chunks):
    """Micro-batches divide the generated images, but a learned field trains on the whole set."""
    whole, parts = (make(learned=field, form=form, micro_batches=m) for m in (1, chunks))
    state = jax.jit(whole.init)(jax.random.key(0))
    generator = jax.tree.map(lambda x: x + 0.1, state.params["generator"])
    state = state.replace(params={**state.params, "generator": generator})
    keys = draws.Keys.of(jax.random.key(3))
    classes, cfg_scale = jnp.arange(10, dtype=jnp.int32), jnp.linspace(1.0, 3.0, 10)
    real, _ = draws.real(whole.settings, whole.num_drawn, whole.flip, digits, {}, keys, classes)
    inputs = draws.inputs(whole.settings, FACTS, keys, classes, cfg_scale)
    given = (state, draws.Step(inputs, real, cfg_scale, keys.noise, None))
    loss, grads, learned, _ = jax.jit(whole._loss_and_grads)(*given)
    loss_parts, grads_parts, learned_parts, _ = jax.jit(parts._loss_and_grads)(*given)
    np.testing.assert_allclose(loss, loss_parts, rtol=1e-5)
    if field is not None:
        before = state.params["field"]
        moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), learned.params, before)
        assert max(jax.tree.leaves(moved)) > 1e-5  # in its warm-up
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6),
            learned.params,
            learned_parts.params,
        )
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads))
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(grads_parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5 * scale)


@pytest.mark.slow
def test_the_generator_of_the_release_starts_at_zero_and_trains(digits):
    """All samples are 0 at first; the noise, through the last layer, tells them apart."""
    config = base.of("drifting", "drift_dit_latent")
    config.model.size = "nano"
    config.method.update(dict(num_generated=4, num_positives=6, num_unconditional=3))
    config.optimizer.update(dict(warmup_steps=0, learning_rate=2e-3))
    method = methods.create(config, FACTS)
    small = method.network.clone(depth=1, hidden_size=16, num_heads=1)
    method = dataclasses.replace(method, network=small)
    labels = jnp.arange(8, dtype=jnp.int32)
    fresh = jax.jit(method.init)(jax.random.key(0))
    state, history = steps(method, digits, 12)
    before, after = (
        method.sample(s, jax.random.key(1), labels, cfg_scale=2.0, ema=False)
        for s in (fresh, state)
    )
    np.testing.assert_array_equal(before, np.zeros((8, 8, 8, 1)))
    assert jnp.std(after, axis=0).max() > 1e-3
    losses = [metrics["loss"] for metrics in history]
    assert np.isfinite(losses).all() and np.mean(losses[-3:]) < np.mean(losses[:3])


def moments(state):
    """The first moments of both networks, by network: a tenth of a first step's gradients."""
    return {name: optax.tree_utils.tree_get(s, "mu") for name, s in state.opt_state.items()}


@pytest.mark.parametrize("clip_norm", [0.5, 4.9, 5.1])
def test_a_joint_clip_scales_both_gradients_by_one_factor(digits, monkeypatch, clip_norm):
    """The factor is min(1, c / sqrt(|g|^2 + |f|^2)), where |g| = 3 and |f| = 4 are known."""
    small = dict(form="sphere", num_generated=2, num_positives=2)
    method = make(learned={"clip_jointly": True}, clip_norm=clip_norm, **small)
    params = {"generator": {"a": jnp.ones(2), "b": jnp.ones(1)}, "field": {"w": jnp.ones((2, 2))}}
    grads = {
        "generator": {"a": jnp.asarray([1.0, -2.0]), "b": jnp.asarray([2.0])},
        "field": {"w": jnp.full((2, 2), 2.0)},
    }
    state = TrainState.create(params, method.optimizers, {})
    networks = Networks(params["field"], state.opt_state["field"], grads["field"])
    given = jnp.zeros(()), grads["generator"], networks, {}
    monkeypatch.setattr(Drifting, "_loss_and_grads", lambda *_: given)
    state, _ = jax.jit(method.train_step)(state, digits, jax.random.key(0), {})
    factor = min(1.0, clip_norm / 5.0)
    for name, found in moments(state).items():
        jax.tree.map(
            lambda m, g: np.testing.assert_allclose(m, 0.1 * factor * g, rtol=1e-5),
            found,
            grads[name],
        )
        assert all(jnp.all(w != 1.0) for w in jax.tree.leaves(state.params[name]))


@pytest.mark.slow
def test_a_joint_clip_in_a_real_step(digits):
    joint = {"clip_jointly": True}
    state, (metrics,) = steps(make(learned=joint, clip_norm=1e9), digits)
    free = moments(state)
    leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(free)]
    norm = 10.0 * np.sqrt(sum(np.sum(x**2) for x in leaves))
    np.testing.assert_allclose(norm, np.hypot(*(metrics[k] for k in NORMS)), rtol=1e-4)
    state, (metrics,) = steps(make(learned=joint, clip_norm=float(0.25 * norm)), digits)
    for name, clipped in moments(state).items():
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, 0.25 * b, rtol=1e-3, atol=1e-6),
            clipped,
            free[name],
        )
        assert max(np.abs(x).max() for x in jax.tree.leaves(clipped)) > 1e-5
    np.testing.assert_allclose(norm, np.hypot(*(metrics[k] for k in NORMS)), rtol=1e-4)


def test_logged_metrics(digits):
    _, (metrics,) = steps(make(), digits)
    expected = {"loss", "drift_norm", "grad_norm", "feature_dist_mean", "feature_dist_var", "lr"}
    assert expected <= set(metrics)
    assert all(np.ndim(v) == 0 and np.isfinite(v) for v in metrics.values())


def test_a_step_is_a_function_of_its_key(digits):
    method = make()
    (a, _), (b, _) = steps(method, digits), steps(method, digits)
    jax.tree.map(np.testing.assert_array_equal, a.params, b.params)
    c, _ = steps(method, digits, seed=1)
    kernel = "patch_embed"
    assert not np.array_equal(
        a.params["generator"][kernel]["dense"]["kernel"],
        c.params["generator"][kernel]["dense"]["kernel"],
    )


@pytest.mark.parametrize("form", ["sphere", "distance"])
def test_guided_samples_are_not_plain_ones(digits, form):
    method = make(form=form)
    state, _ = steps(method, digits, n=3)
    state = state.replace(params=jax.tree.map(lambda x: x + 0.05, state.params))
    labels = jnp.arange(10, dtype=jnp.int32)
    sample = jax.jit(method.sample, static_argnames=("cfg_scale", "ema"))
    key = jax.random.key(0)
    plain, guided = (sample(state, key, labels, scale, ema=False) for scale in (1.0, 3.0))
    assert plain.shape == (10, 8, 8, 1)
    assert jnp.abs(plain - guided).max() > 1e-3
    averaged = sample(state, key, labels, 1.0)
    assert jnp.abs(plain - averaged).max() > 1e-3


def test_extrapolation_needs_a_trained_null_class():
    method = make(form="sphere", label_dropout=0.0)
    state = jax.jit(method.init)(jax.random.key(0))
    with pytest.raises(ConfigError, match="label_dropout = 0"):
        method.sample(state, jax.random.key(0), jnp.zeros(2, jnp.int32), 1.5)


@pytest.mark.slow
def test_queue_run_skips_classes_until_they_are_filled(digits):
    """Parameters stay while the queue has too few images of every class, and then change."""
    method = make(queue_size=8, queue_push=10)
    state, history = steps(method, digits, n=30)
    assert history[0]["loss"] == 0.0 and history[0]["grad_norm"] == 0.0
    assert history[-1]["loss"] > 0.0
    counts = state.extra["queue"].counts
    assert counts.max() <= 8 and counts.min() >= 6


def test_streamed_batches_feed_the_queue(digits):
    method = make(queue_size=8)
    batch = Batch(digits.images[:200], digits.labels[:200], digits.space)
    state, (metrics,) = steps(method, batch)
    assert metrics["loss"] > 0.0
    newest = np.flatnonzero(np.asarray(digits.labels[:200]) == 3)[-1]
    stored = np.asarray(state.extra["queue"].images[3])
    assert any(np.array_equal(s, digits.images[newest]) for s in stored)


@pytest.mark.slow
def test_features_are_handed_in_with_their_parameters_as_arguments(digits):
    """The seam for encoders: two stacks, of two scales and of one; weights are not constants."""

    def features(params, images):
        flat = images.reshape(images.shape[0], -1)
        return jnp.stack([flat @ w for w in params["two"]]), (flat @ params["one"])[None]

    key = jax.random.key(0)
    params = {
        "two": jax.random.normal(key, (2, 64, 5)),
        "one": jax.random.normal(key, (64, 9)),
    }
    method = make(features)
    state = method.init(key)
    frozen = {"encoder": params}
    lowered = jax.jit(method.train_step).lower(state, digits, key, frozen)
    _, metrics = lowered.compile()(state, digits, key, frozen)
    _, other = lowered.compile()(state, digits, key, jax.tree.map(lambda x: 2.0 * x, frozen))
    np.testing.assert_allclose(metrics["loss"], other["loss"], rtol=1e-4)  # scale-free
    np.testing.assert_allclose(
        2.0 * metrics["feature_dist_mean"], other["feature_dist_mean"], rtol=1e-4
    )


@pytest.mark.slow
def test_the_places_of_a_feature_share_their_scale_and_features_weigh_alike(digits):
    """As released, a place is a group in the loss of its feature, not a feature of its own."""

    def features(params, images):
        del params
        flat = images.reshape(images.shape[0], -1)
        return jnp.stack([flat[:, :8], 5.0 * flat[:, 8:16]]), flat[None]

    method = make(features)
    keys = draws.Keys.of(jax.random.key(3))
    classes, cfg_scale = jnp.arange(10, dtype=jnp.int32), jnp.linspace(1.0, 3.0, 10)
    state = jax.jit(method.init)(jax.random.key(0))
    inputs = draws.inputs(method.settings, FACTS, keys, classes, cfg_scale)
    real, _ = draws.real(method.settings, method.num_drawn, method.flip, digits, {}, keys, classes)
    step = draws.Step(inputs, real, cfg_scale, keys.noise, None)
    loss, *_ = jax.jit(method._loss_and_grads)(state, step)

    generated = jax.jit(method._generate)(state.params["generator"], inputs)
    images = (generated, real.positives, real.unconditional)
    sets = [features(None, x.reshape(-1, 8, 8, 1)) for x in images]
    expected = []
    for stacks in zip(*sets, strict=True):
        places = len(stacks[0])
        groups = [x.reshape(places * 10, -1, x.shape[-1]) for x in stacks]
        weight = kernel.guidance_weight(cfg_scale, 4, 3)  # 4 samples and 3 negatives per class
        weight = jnp.broadcast_to(jnp.tile(weight, places)[:, None], (places * 10, 3))
        target = kernel.distance_target(
            *groups, negative_weight=weight, temperatures=method.settings.temperatures
        )
        expected.append(jnp.mean(kernel.regression_loss(groups[0], target)))
    np.testing.assert_allclose(loss, np.sum(expected), rtol=1e-4)


@pytest.mark.slow
def test_some_of_the_classes_a_step(digits):
    method = make(classes_per_step=3)
    assert method.batch_size == 12 and method.images_per_step == 18
    _, (metrics,) = steps(method, digits)
    assert np.isfinite(metrics["loss"])


@pytest.mark.parametrize(
    "changed,message",
    [
        (dict(form="spere"), "form = 'spere'"),
        (dict(field="kernal"), "field = 'kernal'"),
        (dict(classes_per_step=11), "classes_per_step = 11.*10 classes"),
        (dict(micro_batches=3), "micro_batches = 3 does not divide the 40"),
        (dict(queue_size=5), "queue_size = 5 holds fewer"),
        (dict(cfg_min=0.5), "1 <= cfg_min"),
        (dict(encoder_features="poled"), "encoder_features = 'poled'.*did you mean 'pooled'"),
    ],
)
def test_values_out_of_range_name_their_key(changed, message):
    with pytest.raises(ConfigError, match=message):
        make(**changed)


def test_an_unknown_method_is_named():
    config = base.of("drifting")
    config.method.name = "drift"
    with pytest.raises(ConfigError, match=r"'drift' is not one of .*did you mean 'drifting'"):
        methods.create(config, FACTS)


def test_a_run_trained_without_guidance_refuses_it():
    """Samples with a guidance scale that training never used would be meaningless."""
    method = make(cfg_max=1.0)
    state = jax.jit(method.init)(jax.random.key(0))
    labels = jnp.zeros(2, jnp.int32)
    with pytest.raises(ConfigError, match="saw none in training .*cfg_max = 1.*must be 1"):
        method.sample(state, jax.random.key(0), labels, 1.5)
    assert method.sample(state, jax.random.key(0), labels, 1.0).shape == (2, 8, 8, 1)

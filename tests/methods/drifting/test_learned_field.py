"""A learned field trained with a generator: its objectives, and its part in a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import drifting
from configs import base, digits_ldf
from drifting.core.errors import ConfigError
from drifting.fields import objectives
from drifting.methods.drifting import learned_field
from drifting.methods.drifting.learned_field import FeatureSets, LearnedField, Networks
from drifting.runs.workdir import Run
from input_pipeline.sources import DataError


def make(dimensions=(3, 5), **changed):
    config = base.of("drifting")
    config.field.update(dict(hidden=8, projection=6, score_hidden=5) | changed)
    config.field_optimizer.update(dict(learning_rate=0.01, warmup_steps=1))
    return LearnedField.from_config(config, dimensions, 100)


def around(field, shift=2.0, guided=False, seed=0):
    """Samples about 0 and positives about `shift`, in each of the field's dimensions."""
    features = []
    for i, d in enumerate(field.dimensions):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), i), 4)
        x = jax.random.normal(keys[0], (2, 8, d))
        positives = shift + jax.random.normal(keys[1], (2, 6 * field.draws, d))
        extra = (None, None, None)
        if guided:
            extra = (jax.random.normal(keys[2], (2, 4, d)), jnp.ones(2), jnp.full(2, 1.5))
        kernel_drift = jax.random.normal(keys[3], x.shape)
        features.append(FeatureSets(x, positives, *extra, kernel_drift, jnp.ones(2)))
    return features


def networks(field):
    params = field.init(jax.random.key(0))
    return Networks(params, field.optimizer.init(params))


def trained(field, features, repeats):
    step = jax.jit(field.train)
    state, history = networks(field), []
    for _ in range(repeats):
        state, metrics = step(state, features)
        history.append(jax.device_get(metrics))
    return state, history


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["lookahead", "distill"])
def test_nothing_is_learned_from_a_class_that_is_not_valid(objective):
    """A sample queue that is not filled yet may return anything."""
    field = make(dimensions=(3,), objective=objective)
    (feature,) = around(field)
    state, half = networks(field), feature._replace(valid=jnp.asarray([1.0, 0.0]))
    loss = jax.jit(jax.grad(lambda p, f: field._loss(p, [f], 0)[0]))
    junk = half._replace(
        positives=half.positives.at[1].multiply(7.0),
        kernel_drift=half.kernel_drift.at[1].add(1.0),
    )
    grads = [loss(state.params, f) for f in (half, junk)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *grads)
    assert max(jnp.abs(g).max() for g in jax.tree.leaves(grads[0])) > 1e-3
    nothing = feature._replace(valid=jnp.zeros(2))
    assert all(jnp.all(g == 0) for g in jax.tree.leaves(loss(state.params, nothing)))


@pytest.mark.slow
@pytest.mark.parametrize("guided", [False, True])
def test_lookahead_brings_samples_to_the_second_draw(guided):
    """Its two energies are distances to the second draw, which is not an input of the field."""
    field = make(dimensions=(3,), steps=1)
    (feature,) = features = around(field, guided=guided)
    state, history = trained(field, features, 60)
    heldout = feature.positives[:, 6:]

    def energy(x):
        unit = jnp.mean(jnp.linalg.norm(feature.x[:, :, None] - heldout[:, None], axis=-1))
        if not guided:
            return jnp.mean(objectives.energy_distance(x, heldout)) / unit
        other = (feature.unconditional, feature.cfg_scale)
        return jnp.mean(objectives.guided_energy_distance(x, heldout, *other)) / unit

    np.testing.assert_allclose(history[0]["energy_before"], energy(feature.x), rtol=1e-4)
    (drift,) = field.drifts(state.params, features)
    assert energy(feature.x + drift) < 0.3 * energy(feature.x)
    # All have gradients. (In jaysarva/drifting-model none has: the target is detached.)
    for a, b in zip(*map(jax.tree.leaves, (networks(field).params, state.params)), strict=True):
        assert np.abs(np.asarray(a) - np.asarray(b)).max() > 1e-3
    assert history[-1]["energy_after"] < 0.3 * history[0]["energy_before"]


@pytest.mark.slow
def test_distillation_approaches_the_kernel_field():
    field = make(objective="distill", steps=4)
    assert field.draws == 1
    features = [f._replace(kernel_drift=2.0 + 0.0 * f.x) for f in around(field)]
    state, history = trained(field, features, 20)
    assert history[-1]["field_loss"] < 0.05 < history[0]["field_loss"]
    for drift in field.drifts(state.params, features):
        np.testing.assert_allclose(jnp.mean(drift), 2.0, atol=0.3)


def test_a_frozen_field_stays_as_it_was():
    field = make(objective="frozen")
    before = networks(field)
    after, metrics = field.train(before, around(field))
    assert field.draws == 1 and not metrics
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_no_gradient_comes_back_from_the_field():
    """The generator follows V without a gradient through V."""
    field = make(dimensions=(3,))
    (feature,) = around(field)

    def through(x):
        return jnp.sum(field.drifts(networks(field).params, [feature._replace(x=x)])[0])

    assert jnp.all(jax.jit(jax.grad(through))(feature.x) == 0)


def test_the_kernel_field_is_added_where_asked():
    plain, mixed = make(), make(kernel_weight=0.5)
    params, features = plain.init(jax.random.key(0)), around(plain)
    drifts = [field.drifts(params, features) for field in (plain, mixed)]
    for v, w, feature in zip(*drifts, features, strict=True):
        np.testing.assert_allclose(w, v + 0.5 * feature.kernel_drift, atol=1e-6)


def test_the_norm_penalty_is_the_mean_square_in_units_of_the_mean_distance():
    fields = [make(dimensions=(3,), norm_penalty=penalty) for penalty in (0.0, 2.0)]
    params, (feature,) = fields[0].init(jax.random.key(0)), around(fields[0])
    losses = [jax.jit(field._loss)(params, [feature], 0)[0] for field in fields]
    (drift,) = fields[0].drifts(params, [feature])
    heldout = feature.positives[:, 6:]
    unit = jnp.mean(jnp.linalg.norm(feature.x[:, :, None] - heldout[:, None], axis=-1))
    penalty = jnp.mean(jnp.sum(jnp.square(drift), axis=-1)) / unit**2
    np.testing.assert_allclose(losses[1] - losses[0], 2.0 * penalty, rtol=1e-3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(objective="look_ahead"), "did you mean 'lookahead'"),
        (dict(steps=0), "config.field.steps = 0"),
        (dict(projection=-1), "config.field.projection = -1"),
        (dict(clip_jointly=True, steps=2), "needs config.field.steps = 1, not 2"),
    ],
)
def test_values_out_of_range_name_their_key(changed, message):
    with pytest.raises(ConfigError, match=message):
        make(**changed)


def test_its_optimiser_is_its_own_and_names_its_section():
    config = base.of("drifting")
    config.field_optimizer.name = "adam"
    with pytest.raises(ConfigError, match="config.field_optimizer.name = 'adam'"):
        LearnedField.from_config(config, (3,), 100)


def test_with_a_joint_clip_the_step_is_left_to_the_caller():
    field = make(dimensions=(3,), objective="distill", clip_jointly=True)
    before, features = networks(field), around(field)

    def loss(params):
        return field._loss(params, features, 0)[0]

    @jax.jit
    def both(networks):
        return field.train(networks, features), jax.grad(loss)(networks.params)

    (after, metrics), expected = both(before)
    assert field.clip_norm == 2.0 and make().clip_norm == 0.0
    for part in ("params", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, *(getattr(n, part) for n in (before, after)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.grads, expected)
    squares = [np.sum(np.square(g)) for g in jax.tree.leaves(expected)]
    np.testing.assert_allclose(metrics["field_grad_norm"], np.sqrt(sum(squares)), rtol=1e-4)


@pytest.mark.parametrize("norms", [(2.0, 1.0), (0.0, 0.0)])
def test_a_joint_clip_needs_one_norm(norms):
    config = base.of("drifting")
    config.field.clip_jointly = True
    config.optimizer.clip_norm, config.field_optimizer.clip_norm = norms
    with pytest.raises(ConfigError, match="config.optimizer.clip_norm = .* set both to the same"):
        LearnedField.from_config(config, (3,), 100)


# --- runs ----------------------------------------------------------------------------------------

SMALL = {"field.hidden": 8, "field.projection": 6, "field.score_hidden": 5}
LEARNED = {**SMALL, "method.field": "learned", "train.total_steps": 4, "train.sample_steps": 4}


@pytest.mark.slow
def test_a_kernel_run_resumed_as_a_learned_one_and_back(train, caplog):
    """The generator continues with a new field, and later without it."""
    kernel = {**LEARNED, "method.field": "kernel"}
    train(**kernel)
    with caplog.at_level("WARNING", logger="drifting"):
        workdir = train(**LEARNED | {"train.total_steps": 8})
    assert "config.method.field: 'kernel' -> 'learned'" in caplog.text
    assert "has no field of this shape; it is initialised anew" in caplog.text
    state, _ = Run(workdir, frozen={}).restore(8)
    assert state.params.keys() == {"generator", "field"}
    caplog.clear()
    train(**kernel | {"train.total_steps": 12})
    assert "fresh" not in caplog.text
    state, step = Run(workdir).restore_last()
    assert step == 12 and state.params.keys() == {"generator"}


@pytest.mark.slow
def test_a_resumed_field_is_the_one_that_never_stopped(train):
    once, again = train("once", **LEARNED | {"train.total_steps": 8}), train("again", **LEARNED)
    train("again", **LEARNED | {"train.total_steps": 8})
    states = [Run(w, frozen={}).restore(8)[0] for w in (once, again)]
    assert "field" in states[0].params
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_too_few_images_for_all_draws(small_config, tmp_path):
    """A class of the digits has about 150 training images: enough for 4, not for 51 x 4."""
    config = small_config(**LEARNED | {"field.steps": 50})
    with pytest.raises(DataError, match="204 distinct positives"):
        drifting.train(config, tmp_path / "run")


def test_the_config_differs_in_the_field_alone():
    config = digits_ldf.get_config()
    assert config.method.field == "learned" and config.field.objective in learned_field.OBJECTIVES
    assert config.field.kernel_weight == 0.0  # mixing is off unless asked for

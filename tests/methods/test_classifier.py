"""The classifier: losses and scores match formulas; micro-batches and devices are exact."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss

from drifting import methods
from drifting.core.errors import ConfigError
from drifting.methods import batches, classifier
from drifting.runs import build
from input_pipeline import sources


@pytest.fixture(scope="module")
def images():
    return sources.load("digits", image_size=8, channels=1)


@pytest.fixture
def make(small_classifier, images):
    def method(**changed):
        return methods.create(small_classifier(**changed), build.facts_of(images))

    return method


def step(method, data, state=None):
    state = jax.jit(method.init)(jax.random.key(0)) if state is None else state
    return jax.jit(method.train_step)(state, data, jax.random.key(1), {})


def test_cross_entropy_with_smoothing_is_that_of_the_smoothed_labels():
    logits = jax.random.normal(jax.random.key(0), (5, 3))
    labels = jnp.asarray([0, 1, 2, 2, 0])
    plain = batches.cross_entropy(logits, labels)
    np.testing.assert_allclose(
        jnp.mean(plain), log_loss(labels, jax.nn.softmax(logits), labels=[0, 1, 2]), rtol=1e-5
    )
    smooth = batches.cross_entropy(logits, labels, 0.3)
    every = [batches.cross_entropy(logits, jnp.full(5, k)) for k in range(3)]
    np.testing.assert_allclose(smooth, 0.7 * plain + 0.1 * sum(every), rtol=1e-5)


def test_macro_f1_is_scikit_learns():
    generator = np.random.default_rng(0)
    true, predicted = generator.integers(0, 4, (2, 200))  # class 4 never occurs
    confusion = np.zeros((5, 5), int)
    np.add.at(confusion, (true, predicted), 1)
    expected = f1_score(true, predicted, labels=range(5), average="macro", zero_division=0)
    assert classifier.macro_f1(confusion) == pytest.approx(expected, abs=1e-12)


def test_a_batch_in_parts_is_the_whole_batch(make, images):
    data = images.to_device()
    common = {"method.batch_size": 256, "model.norm": "group", "method.label_smoothing": 0.1}
    whole, _ = step(make(**common), data)
    parts, metrics = step(make(**common, **{"method.micro_batches": 4}), data)
    # The first momentum is the update before its rate: parameters would add their own rounding.
    for a, b in zip(*map(jax.tree.leaves, (whole.opt_state, parts.opt_state)), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5 * np.abs(a).max(), rtol=0)
    for a, b in zip(*map(jax.tree.leaves, (whole.params, parts.params)), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6, rtol=0)
    assert metrics["loss"] > 1.0


def test_parts_and_batch_statistics_exclude_each_other(make):
    with pytest.raises(ConfigError, match="norm='group'"):
        make(**{"method.micro_batches": 4})


@pytest.mark.parametrize(
    "changed,message",
    [
        ({"method.micro_batches": 5, "model.norm": "group"}, "5 does not divide"),
        ({"method.label_smoothing": 1.0}, "label_smoothing"),
        ({"model.name": "resnet19"}, "did you mean 'resnet18'"),
        ({"model.norm": "layer"}, "model.norm = .layer. is not one of"),
        ({"model.stem": "tiny"}, "model.stem"),
        ({"optimizer.warmup_steps": 12}, "leaves nothing of the 12 steps"),
    ],
)
def test_values_that_cannot_be_name_their_key(make, changed, message):
    with pytest.raises(ConfigError, match=message):
        make(**changed)


def test_a_batch_larger_than_the_data_is_refused(make):
    with pytest.raises(ConfigError, match="batch_size = 2000"):
        make(**{"method.batch_size": 2000})


@pytest.mark.slow
def test_weights_and_statistics_that_are_scored_are_averages(make, images):
    data = images.to_device()
    averaged = dataclasses.replace(make(), ema_decay=0.9)
    start = jax.jit(averaged.init)(jax.random.key(0))
    after, _ = step(averaged, data)
    for name, old, new, mean in (
        ("params", start.params, after.params, after.ema_params),
        (
            "statistics",
            *(s.extra["batch_stats"] for s in (start, after)),
            after.extra["ema_batch_stats"],
        ),
    ):
        for a, b, m in zip(*map(jax.tree.leaves, (old, new, mean)), strict=True):
            np.testing.assert_allclose(m, 0.9 * a + 0.1 * b, atol=1e-6, err_msg=name)
    plain, _ = step(make(), data)
    assert plain.ema_params == {} and "ema_batch_stats" not in plain.extra
    encoder = make().encoder(plain)
    jax.tree.map(np.testing.assert_array_equal, encoder["params"], plain.params["classifier"])


def test_a_tally_counts_what_the_network_says(make, images):
    method = make()
    state = jax.jit(method.init)(jax.random.key(0))
    x = jnp.asarray(images.images[:40] / 127.5 - 1.0, jnp.float32)
    labels = jnp.asarray(images.labels[:40])
    weight = jnp.where(jnp.arange(40) < 37, 1.0, 0.0)
    sums = jax.device_get(method.tally(state, x, labels, weight, jax.random.key(0)))
    logits = np.asarray(method.encode(method.encoder(state), x).logits)[:37]
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (np.asarray(labels[:37]), logits.argmax(axis=1)), 1)
    np.testing.assert_array_equal(sums["confusion"], expected)
    scores = method.scores(sums)
    assert scores["accuracy"] == np.mean(logits.argmax(axis=1) == labels[:37])
    probabilities = np.array(jax.nn.softmax(logits))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert scores["loss"] == pytest.approx(
        log_loss(labels[:37], probabilities, labels=range(10)), rel=1e-5
    )


def test_the_network_sees_standardised_images(make, images):
    facts = build.facts_of(images)
    channels = {"mean": jnp.asarray(facts.mean), "std": jnp.asarray(facts.std)}
    x = classifier.standardized(jnp.asarray(images.images / 127.5 - 1.0, jnp.float32), channels)
    np.testing.assert_allclose([jnp.mean(x), jnp.std(x)], [0.0, 1.0], atol=1e-5)


def test_bfloat16_follows_float32(make, images):
    data = images.to_device()
    _, exact = step(make(), data)
    state, rough = step(make(precision="bfloat16"), data)
    assert rough["loss"] == pytest.approx(float(exact["loss"]), rel=0.02)
    assert rough["loss"] != exact["loss"]
    assert {x.dtype for x in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}

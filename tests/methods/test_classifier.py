"""The classifier: losses and scores match formulas; micro-batches and devices are exact."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from sklearn.metrics import f1_score, log_loss

from drifting import methods
from drifting.core.errors import ConfigError
from drifting.methods import batches, classifier
from drifting.runs import build
from input_pipeline import sources
from models.activations import Activations
from models.layers import norms


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
    with pytest.raises(ConfigError, match="norm='group', or set .*micro_batches_norm='per_part'"):
        make(**{"method.micro_batches": 4})


class Tiny(nn.Module):
    """Dense, batch normalisation, Dense."""

    num_classes: int = 10

    @nn.compact
    def __call__(self, images, train):
        x = nn.Dense(6, name="first")(images.reshape(len(images), -1))
        x = jnp.tanh(norms.norm("batch", 6, train, jnp.float32, "norm")(x))
        return Activations(nn.Dense(self.num_classes, name="last")(x), x, {})


def test_batch_statistics_by_parts_are_those_of_a_loop_over_the_parts(make, images):
    """The gradient is the mean over parts, and each part moves the running averages in turn."""
    data, parts, size = images.to_device(), 4, 8
    method = make(**{
        "method.batch_size": parts * size, "method.crop_padding": 0, "method.micro_batches": parts,
        "method.micro_batches_norm": "per_part", "optimizer.weight_decay": 0.0,
    })  # fmt: skip
    method = dataclasses.replace(method, network=Tiny())
    before = jax.jit(method.init)(jax.random.key(0))
    after, metrics = step(method, data, before)

    def loss_and_statistics(p, x, labels):
        x = x.reshape(size, -1) @ p["first"]["kernel"] + p["first"]["bias"][None]
        mean = jnp.sum(x, axis=0, keepdims=True) / size
        variance = jnp.sum((x - mean) ** 2, axis=0, keepdims=True) / size
        x = (x - mean) / jnp.sqrt(variance + 1e-5)
        x = jnp.tanh(x * p["norm"]["scale"][None] + p["norm"]["bias"][None])
        logits = x @ p["last"]["kernel"] + p["last"]["bias"][None]
        right = jnp.sum(logits * jax.nn.one_hot(labels, 10), axis=1)
        return jnp.mean(jax.nn.logsumexp(logits, axis=1) - right), (mean[0], variance[0])

    x, labels = data.next_batch(jax.random.key(method.seed), jnp.int32(0), parts * size)
    x = classifier.standardized(x, before.extra["channels"])
    by_hand = jax.jit(jax.value_and_grad(loss_and_statistics, has_aux=True))
    mean, variance, gradients, losses = np.zeros(6), np.ones(6), [], []
    for i in range(parts):
        rows = slice(i, None, parts)  # as gradients.in_chunks takes them
        (loss, found), gradient = by_hand(before.params["classifier"], x[rows], labels[rows])
        mean, variance = (0.9 * a + 0.1 * b for a, b in zip((mean, variance), found, strict=True))
        gradients.append(gradient)
        losses.append(loss)
    statistics = after.extra["batch_stats"]["norm"]
    np.testing.assert_allclose(statistics["mean"], mean, atol=1e-5)
    np.testing.assert_allclose(statistics["var"], variance, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-5)
    momentum = optax.tree_utils.tree_get(after.opt_state["classifier"], "trace")
    expected = jax.tree.map(lambda *g: sum(g) / parts, *gradients)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), momentum, expected)
    assert np.abs(expected["first"]["kernel"]).max() > 1e-3


@pytest.mark.parametrize(
    "changed,message",
    [
        ({"method.micro_batches": 5, "model.norm": "group"}, "5 does not divide"),
        ({"method.label_smoothing": 1.0}, "label_smoothing"),
        ({"method.micro_batches_norm": "per_parts"}, "did you mean 'per_part'"),
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

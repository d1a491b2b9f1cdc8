"""Each term of the generator's loss against its formula in NumPy, and their weighted sum."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_cut import make, random_state

from drifting.losses import palette
from drifting.methods.cut.objective import Given
from models.activations import Activations

OPTIONS = {
    "method.nce_idt": True,
    "method.diff_augment": (),
    "method.nce_weight": 0.6,
    "method.adversarial_weight": 0.3,
    "method.feature_matching_weight": 0.5,
    "method.palette_weight": 0.7,
    "method.repulsion_weight": 0.9,
    "method.repulsion_margin": 2.5,
    "method.encoder": "some",
}
B = 2


def encode(parameters, images):
    """Features that are three means of an image."""
    pooled = parameters * jnp.stack([images[..., i].mean(axis=(1, 2)) for i in range(3)], axis=1)
    return Activations(pooled, pooled, {})


def given_of(method, state, mirrored=None):
    """Random images for the generator, and what the loss is given."""
    count = 2 * B if method.settings.translates_targets else B
    inputs, made = jax.random.uniform(jax.random.key(5), (2, count, 16, 16, 3), minval=-1.0)
    objective, params = method.objective, state.params
    maps = objective.features(params["generator"], inputs)
    places = objective.places(jax.random.key(6), maps)
    keys = objective.vectors(params["patch_heads"], maps, places)
    given = Given(
        inputs, inputs[-B:], mirrored, places, keys,
        {"params": params["discriminator"]}, jnp.float32(2.0), jnp.float32(0.05),
        jax.random.key(7),
    )  # fmt: skip
    return made, given


def vectors_by_hand(method, state, images, places):
    """Of each map, the normalised outputs [N, P, D] of its head, in float64."""
    maps = method.network.apply(
        {"params": state.params["generator"]}, images, method.settings.taps, method="features"
    )
    found = []
    for i, (x, chosen) in enumerate(zip(maps, places, strict=True)):
        x = np.asarray(x, np.float64).reshape(len(x), -1, x.shape[-1])[:, np.asarray(chosen)]
        for name in ("in", "out"):
            layer = jax.tree.map(np.float64, state.params["patch_heads"][f"map_{i}_{name}"])
            x = x @ layer["kernel"] + layer["bias"]
            x = np.maximum(x, 0.0) if name == "in" else x
        found.append(x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-6))
    return found


def nce_by_hand(queries, keys, across_batch, clamp):
    """Mean over maps of the cross entropy of each patch's own key, [N, P, D] each."""
    losses = []
    for q, k in zip(queries, keys, strict=True):
        if across_batch:
            q, k = (x.reshape(1, -1, x.shape[-1]) for x in (q, k))
        for similar in np.clip(q @ k.transpose(0, 2, 1) / 0.07, -clamp, clamp):
            positive = np.diagonal(similar).copy()
            negatives = np.where(np.eye(len(similar), dtype=bool), -10.0 / 0.07, similar)
            total = np.exp(positive) + np.exp(negatives).sum(axis=1)
            losses.append(np.log(total) - positive)
    return np.mean(losses) if across_batch else np.mean(np.stack(losses))


@pytest.fixture(scope="module")
def all_terms():
    method = make(**OPTIONS)
    method = dataclasses.replace(
        method, objective=dataclasses.replace(method.objective, encode=encode)
    )
    state = random_state(method)
    made, given = given_of(method, state)
    loss = jax.jit(method.objective.loss)
    params = state.params
    return (
        method,
        state,
        made,
        given,
        *loss(made, params["generator"], params["patch_heads"], given),
    )


def test_both_contrastive_terms(all_terms):
    method, state, made, given, _, terms = all_terms
    vectors = [vectors_by_hand(method, state, x, given.places) for x in (made, given.inputs)]
    for name, rows in (("nce", slice(None, B)), ("nce_idt", slice(B, None))):
        parts = [[x[rows] for x in of_maps] for of_maps in vectors]
        expected = nce_by_hand(*parts, across_batch=False, clamp=50.0)
        np.testing.assert_allclose(terms[name], expected, rtol=1e-4)


@pytest.mark.parametrize("clamp", [pytest.param(0.0, marks=pytest.mark.slow), 3.0])
def test_negatives_of_the_whole_batch(clamp):
    method = make(**{"method.nce_across_batch": True, "method.identity_weight": 0.0,
                     "method.nce_clamp": clamp})  # fmt: skip
    state = random_state(method)
    made, given = given_of(method, state)
    params = state.params
    _, terms = jax.jit(method.objective.loss)(
        made, params["generator"], params["patch_heads"], given
    )
    vectors = [vectors_by_hand(method, state, x, given.places) for x in (made, given.inputs)]
    expected = nce_by_hand(*vectors, across_batch=True, clamp=clamp or np.inf)
    np.testing.assert_allclose(terms["nce"], expected, rtol=1e-4)


def test_the_terms_of_the_discriminator(all_terms):
    method, _, made, given, _, terms = all_terms
    network, variables = method.objective.judge.network, given.judge
    (logits,), maps = network.apply(variables, made[:B], method="with_features")
    _, real = network.apply(variables, given.target, method="with_features")
    np.testing.assert_allclose(terms["g_adv"], -np.mean(logits), rtol=1e-4)
    expected = [np.abs(np.mean(a, axis=0) - np.mean(b, axis=0)).mean()
                for a, b in zip(maps, real, strict=True)]  # fmt: skip
    np.testing.assert_allclose(terms["feature_matching"], np.mean(expected), rtol=1e-4)


def test_the_other_terms_and_the_sum(all_terms):
    _, _, made, given, loss, terms = all_terms
    made, inputs = np.asarray(made), np.asarray(given.inputs)
    np.testing.assert_allclose(terms["identity"], np.abs(made[B:] - inputs[B:]).mean(), rtol=1e-5)
    colours = palette.palette_loss(jnp.asarray(made[:B]), given.target)
    np.testing.assert_allclose(terms["palette"], colours, rtol=1e-5)
    means = made[:B].mean(axis=(1, 2))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    apart = np.linalg.norm(means[0] - means[1])
    np.testing.assert_allclose(terms["repulsion"], 2.5 - apart, rtol=1e-4)
    weights = {"nce": 0.3, "nce_idt": 0.3, "g_adv": 0.3, "identity": 0.05,
               "feature_matching": 0.5, "palette": 0.7, "repulsion": 0.9}  # fmt: skip
    assert set(terms) == set(weights)
    expected = sum(weight * float(terms[name]) for name, weight in weights.items())
    np.testing.assert_allclose(loss, expected, rtol=1e-5)

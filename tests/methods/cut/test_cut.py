"""The step of CUT: what it updates, in which order, and what it logs."""

import dataclasses

import facts
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_cut
from small_cut import PLAIN, assert_close, assert_equal, descending, make, random_state

from configs import base
from drifting import methods
from drifting.losses import adversarial
from drifting.methods.cut import draws
from drifting.methods.cut.draws import Keys
from drifting.methods.cut.method import CUT
from drifting.training import divergence
from input_pipeline.space import Pixels

NETWORKS = ("generator", "patch_heads", "discriminator")
KEY = jax.random.key(3)


def images_of(method, data, step=0, key=KEY):
    return draws.images(
        data, jnp.int32(step), Keys.of(key), method.settings, seed=method.seed, flip=method.flip
    )


def nce(queries, keys):
    """Mean over maps and patches, without what stands for a patch as its own negative."""
    logits = [jnp.einsum("bpd,bqd->bpq", q, k) / 0.07 for q, k in zip(queries, keys, strict=True)]
    losses = [-jnp.diagonal(jax.nn.log_softmax(x), axis1=1, axis2=2) for x in logits]
    return sum(map(jnp.mean, losses)) / len(losses)


def test_one_step_counts_one_step(method, data, step):
    state = random_state(method)
    for number in (1, 2):
        before = state
        state, metrics = step(state, data, jax.random.key(number), {})
        assert int(state.step) == number
        for name in NETWORKS:
            counts = [x for x in jax.tree.leaves(state.opt_state[name]) if x.dtype == jnp.int32]
            assert counts and all(int(x) == number for x in counts)
            moved = jax.tree.map(lambda a, b: bool((a != b).any()), *(
                s.params[name] for s in (before, state)
            ))  # fmt: skip
            assert any(jax.tree.leaves(moved))
    assert {"loss", "g_loss", "d_loss", "g_adv", "nce", "identity", "r1", "lr"} <= set(metrics)
    assert metrics["loss"] == metrics["g_loss"]
    expected = metrics["g_adv"] + metrics["nce"] + 0.1 * 0.9 * metrics["identity"]
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)  # step 1 of 10


def test_the_order_of_a_step(data):
    """First the discriminator, with R1; then the others, against the updated discriminator."""
    method = make(**{"method.diff_augment": (), "method.nce_idt": True, "method.r1_every": 2})
    method, state = descending(method, random_state(method))
    after, metrics = jax.jit(method.train_step)(state, data, KEY, {})
    source, target = images_of(method, data)
    both = jnp.concatenate([source, target])
    discriminator, objective = method.objective.judge.network, method.objective
    params = state.params

    def judged(weights, images):
        return discriminator.apply({"params": weights}, images)

    def d_loss(weights, fake):
        value = adversarial.discriminator_loss(
            "hinge", judged(weights, target), judged(weights, fake)
        )
        return value + 10.0 / 2 * 2 * adversarial.r1(lambda x: judged(weights, x), target)

    def g_loss(generator, heads, weights):
        made = method.network.apply({"params": generator}, both)
        maps = objective.features(params["generator"], both)
        places = objective.places(Keys.of(KEY).places, maps)
        queries = objective.vectors(heads, objective.features(generator, made), places)
        keys = objective.vectors(params["patch_heads"], maps, places)
        logits = [
            jnp.einsum("bpd,bqd->bpq", q, k) / 0.07 for q, k in zip(queries, keys, strict=True)
        ]
        nce = [-jnp.mean(jnp.diagonal(jax.nn.log_softmax(x), axis1=1, axis2=2)) for x in logits]
        adv = -jnp.mean(judged(weights, made[:2])[0])
        return adv + sum(nce) / 3 + 0.1 * jnp.mean(jnp.abs(made[2:] - target))

    @jax.jit
    def by_hand(params):
        fake = method.network.apply({"params": params["generator"]}, source)
        d_grads = jax.grad(d_loss)(params["discriminator"], fake)
        updated = jax.tree.map(jnp.subtract, params["discriminator"], d_grads)
        grads = jax.grad(g_loss, argnums=(0, 1))(
            params["generator"], params["patch_heads"], updated
        )
        return dict(zip(NETWORKS, (*grads, d_grads), strict=True))

    expected = by_hand(params)
    for name in NETWORKS:
        found = jax.tree.map(jnp.subtract, params[name], after.params[name])
        assert_close(found, expected[name], rtol=2e-3)
    norm = np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(expected["generator"])))
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-3)


def test_the_discriminators_update_leaves_the_others_alone(method, state, data):
    """For the other direction see the order of a step, where all changes are known."""
    judged, _ = jax.jit(method._update_judge)(state, *images_of(method, data), KEY)
    assert_equal(_without_discriminator(judged), _without_discriminator(state))
    assert (judged.params["discriminator"]["conv_0"]["kernel"]
            != state.params["discriminator"]["conv_0"]["kernel"]).any()  # fmt: skip


def _without_discriminator(state):
    parts = (state.params, state.opt_state, state.ema_params)
    return [{k: v for k, v in part.items() if k != "discriminator"} for part in parts]


def test_the_average_begins_at_step_100(state, data, step):
    before = state.replace(step=jnp.int32(99))
    first, _ = step(before, data, KEY, {})
    assert_close(first.ema_params["generator"], first.params["generator"], rtol=1e-6)
    second, _ = step(first, data, KEY, {})
    expected = jax.tree.map(
        lambda a, b: a + 0.001 * (b - a), first.params["generator"], second.params["generator"]
    )
    assert_close(second.ema_params["generator"], expected, rtol=1e-6)
    assert set(second.ema_params) == {"generator"}


@pytest.mark.slow
def test_a_mirrored_step_compares_the_inputs_as_they_are(data):
    """The generator sees mirrored images; features of its output are mirrored back."""
    method = make(**PLAIN, **{"method.flip_equivariance": True})
    state, step = random_state(method), jax.jit(method.train_step)
    mirrored = set()
    for number in range(4):
        key = jax.random.key(number)
        keys = Keys.of(key)
        mirror = bool(jax.random.bernoulli(keys.mirror))
        mirrored.add(mirror)
        source, _ = images_of(method, data, key=key)
        objective, params = method.objective, state.params
        shown = source[:, :, ::-1] if mirror else source
        made, _ = objective.translate(params["generator"], shown)
        maps = [objective.features(params["generator"], x) for x in (made, source)]
        if mirror:
            maps[0] = tuple(x[:, :, ::-1] for x in maps[0])
        places = objective.places(keys.places, maps[1])
        queries, patches = (objective.vectors(params["patch_heads"], x, places) for x in maps)
        _, metrics = step(state, data, key, {})
        np.testing.assert_allclose(metrics["nce"], nce(queries, patches), rtol=1e-4)
    assert mirrored == {True, False}


def test_the_first_term_that_is_lost_is_named(state, data, step):
    """A lost discriminator makes everything after its loss NaN."""
    params = jax.tree.map(lambda x: x, state.params)
    params["discriminator"] = jax.tree.map(lambda x: x * jnp.nan, params["discriminator"])
    _, metrics = step(state.replace(params=params), data, KEY, {})
    assert np.isnan(metrics["loss"])
    assert divergence.at_step(5, metrics, CUT.terms).startswith("d_loss is not finite at step 5 ")
    lost = {**metrics, "d_loss": 1.0, "r1": 1.0, "d_grad_norm": 1.0}
    assert divergence.at_step(5, lost, CUT.terms).startswith("g_adv is not finite")


def test_running_vectors_of_spectral_norm_are_kept(data):
    method = make(**PLAIN, **{"discriminator.spectral_norm": True})
    state = random_state(method)
    after, _ = jax.jit(method._update_judge)(state, *images_of(method, data), KEY)
    before, now = (jax.tree.leaves(s.extra["discriminator"]) for s in (state, after))
    assert before and any((a != b).any() for a, b in zip(before, now, strict=True))


def test_parameters_at_full_size_and_heads_from_shapes():
    """Nothing is computed; the numbers are those of the release."""
    config = base.of("cut")
    found = jax.eval_shape(
        methods.create(config, facts.make(Pixels((256, 256, 3)), 2, 20)).init, KEY
    )
    counts = {n: sum(x.size for x in jax.tree.leaves(found.params[n])) for n in NETWORKS}
    assert counts == {
        "generator": 11_378_179, "patch_heads": 560_384, "discriminator": 2_764_737
    }  # fmt: skip


def test_translations(method, state):
    images = jax.random.uniform(jax.random.key(4), (2, 12, 20, 3), minval=-1.0)
    averaged = state.replace(
        ema_params={"generator": jax.tree.map(jnp.zeros_like, state.params["generator"])}
    )
    translate = jax.jit(method.translate, static_argnames="ema")
    assert_equal(translate(averaged, images), jnp.zeros_like(images))
    made = translate(averaged, images, ema=False)
    assert made.shape == images.shape and 0.0 < float(jnp.abs(made).max()) <= 1.0


def test_summaries_show_inputs_above_translations(method, state, data):
    (shown,) = jax.jit(method.summaries)(state, KEY, data, {}).values()
    rows = shown.images
    assert rows.shape == (4, 6, 16, 16, 3)
    assert float(rows[::2].max()) <= 0.01  # dark: the source domain
    made = method.translate(state, rows[0])
    np.testing.assert_allclose(rows[1], made, atol=1e-4)


def test_each_domain_has_its_own_epochs(method, data):
    method = dataclasses.replace(method, flip=False)
    seen = [images_of(method, data, step) for step in range(6)]
    for label, count in enumerate(small_cut.COUNTS):
        rows = np.concatenate([images[label] for images in seen[: count // 2]])
        stored = np.asarray(data.space.to_model(data.images[data.labels == label]))
        order = [int(np.abs(stored - x).max(axis=(1, 2, 3)).argmin()) for x in rows]
        assert sorted(order) == list(range(count)) != order

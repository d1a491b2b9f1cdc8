"""The variational autoencoder's method: its loss, its scores, its steps."""

import facts
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base
from drifting import methods
from drifting.core import fidelity, gaussian
from drifting.core.errors import ConfigError
from drifting.core.networks import Encoder
from drifting.methods.autoencoder import adversarial, equivariance, losses
from drifting.methods.autoencoder.method import Common
from input_pipeline import sources
from input_pipeline.space import Latents
from models.activations import Activations

FACTS = facts.make()
SMALL = {
    "model.widths": (8, 8),
    "method.batch_size": 8,
    "optimizer.warmup_steps": 5,
    "train.total_steps": 100,
}


def make(made_of=FACTS, **changed):
    config = base.of("autoencoder")
    config.update_from_flattened_dict(SMALL | changed)
    return methods.create(config, made_of)


@pytest.fixture(scope="module")
def data():
    return sources.load("digits", image_size=8, channels=1).to_device()


@pytest.fixture(scope="module")
def method():
    return make()


@pytest.fixture(scope="module")
def state(method):
    """A state whose decoder's output depends on the latents, unlike that of a fresh one."""
    state = jax.jit(method.init)(jax.random.key(0))
    leaves, tree = jax.tree.flatten(state.params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    params = jax.tree.unflatten(tree, drawn)
    return state.replace(params=params, ema_params=jax.tree.map(jnp.array, params))


# --- the loss ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ["l1", "l2"])
def test_the_loss_is_that_of_an_independent_sum(error):
    """kl_weight 0.5 and logvar 0.7 make each part count."""
    generator = np.random.default_rng(0)
    images, others = generator.standard_normal((2, 3, 4, 6, 2))
    moments = generator.standard_normal((3, 2, 3, 8))
    error_sum = losses.summed(error, jnp.float32(images), jnp.float32(others))
    found = losses.per_image(error_sum, jnp.float32(moments), 0.7, values=48, kl_weight=0.5)
    size = {"l1": np.abs, "l2": np.square}[error](images - others).reshape(3, -1).sum(axis=1)
    mean, log_variance = moments[..., :4], moments[..., 4:]
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).reshape(3, -1).sum(axis=1)
    loss = size / np.exp(0.7) + 48 * 0.7 + 0.5 * kl
    for name, expected in (("recons_err", size), ("kl", kl), ("loss", loss)):
        np.testing.assert_allclose(found[name], expected, rtol=1e-5)


def test_the_reference_numbers(golden):
    """The method's loss of the reference's reconstructions and moments is the reference's."""
    numbers = golden("08_vae.npz")
    images, rebuilt, moments = (
        jnp.moveaxis(numbers[k], 1, -1) for k in ("in.x", "out.decoded", "out.moments")
    )
    error = "l2" if numbers["cfg.nll_is_l2"] else "l1"

    def mean_loss(logvar):
        summed = losses.summed(error, images, rebuilt)
        found = losses.per_image(summed, moments, logvar, values=5 * 16 * 16, kl_weight=1e-6)
        return jnp.mean(found["loss"]), found

    gradient, found = jax.grad(mean_loss, has_aux=True)(jnp.float32(numbers["w.logvar"]))
    kl = np.mean(found["kl"])
    loss = np.mean(found["loss"])
    np.testing.assert_allclose(found["kl"], numbers["out.kl_per_sample"], rtol=1e-5)
    np.testing.assert_allclose(1e-6 * kl, numbers["out.kl_loss"], rtol=1e-5)
    np.testing.assert_allclose(loss - 1e-6 * kl, numbers["out.nll_loss"], rtol=1e-5)
    np.testing.assert_allclose(loss, numbers["out.loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, numbers["grad.logvar"], rtol=1e-4)


def test_kl_is_zero_for_standard_normal_latents_alone():
    def kl(moments):
        return losses.per_image(jnp.zeros(1), moments, 0.0, values=16, kl_weight=1.0)["kl"][0]

    standard = jnp.zeros((1, 2, 2, 6))
    assert kl(standard) == 0.0
    for place in np.ndindex(2, 2, 6):
        for change in (-0.1, 0.1):
            assert kl(standard.at[0, *place].set(change)) > 1e-3
    # d kl / d mean = mean, d kl / d log-variance = (variance - 1) / 2
    moments = jax.random.normal(jax.random.key(0), (1, 2, 2, 6))
    by_hand = jnp.concatenate([moments[..., :3], 0.5 * (jnp.exp(moments[..., 3:]) - 1)], axis=-1)
    np.testing.assert_allclose(jax.grad(kl)(moments), by_hand, rtol=1e-5, atol=1e-6)


def test_the_signal_to_noise_ratio_is_that_of_each_image():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (4, 5, 7, 3), np.uint8)
    others = generator.integers(0, 256, (4, 5, 7, 3), np.uint8)
    others[1] = images[1]
    others[2] = images[2] ^ 1  # each value differs by one level: 20 log10(255)
    found = np.asarray(fidelity.psnr(images, others))
    squared = np.square(images.astype(float) - others).reshape(4, -1).mean(axis=1)
    squared[1] = 1 / 105  # identical images count as if one value differed by one level
    np.testing.assert_allclose(found, 20 * np.log10(255) - 10 * np.log10(squared), rtol=1e-5)
    np.testing.assert_allclose(found[2], 48.1308, atol=1e-3)


# --- steps ---------------------------------------------------------------------------------------


def test_a_step_logs_its_parts_and_learns(method, data):
    state = jax.jit(method.init)(jax.random.key(0))
    step = jax.jit(method.train_step)
    logged = []
    for i in range(30):
        state, metrics = step(state, data, jax.random.fold_in(jax.random.key(1), i), {})
        assert set(metrics) == {"loss", "recons_err", "kl", "grad_norm", "lr"}
        expected = metrics["recons_err"] + 1e-6 * metrics["kl"]
        np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
        logged.append(float(metrics["recons_err"]))
    assert np.mean(logged[-5:]) < 0.7 * np.mean(logged[:5])


def test_a_batch_in_parts_is_a_step_of_the_whole(method, state, data):
    parts = make(**{"method.micro_batches": 4})
    key = jax.random.key(1)
    (a, seen_a), (b, seen_b) = (
        jax.jit(m.train_step)(state, data, key, {}) for m in (method, parts)
    )
    for name in ("loss", "recons_err", "kl", "grad_norm"):
        np.testing.assert_allclose(seen_a[name], seen_b[name], rtol=1e-5)
    moments = (x.opt_state["autoencoder"] for x in (a, b))  # of the gradients
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), *moments)
    with pytest.raises(ConfigError, match="micro_batches = 3 does not divide"):
        make(**{"method.micro_batches": 3})


@pytest.mark.slow
def test_a_learned_scale_of_errors_is_logged_and_trained(data):
    """With logvar 0 its gradient is the number of values minus the error."""
    method = make(**{"model.logvar": True})
    state = jax.jit(method.init)(jax.random.key(0))
    after, metrics = jax.jit(method.train_step)(state, data, jax.random.key(1), {})
    assert metrics["logvar"] == 0.0
    np.testing.assert_allclose(metrics["loss"] - metrics["recons_err"], 1e-6 * metrics["kl"],
                               atol=1e-4)  # fmt: skip
    assert metrics["recons_err"] < 64  # values of an image, so logvar falls
    assert after.params["autoencoder"]["logvar"] < 0.0


# --- scores and pictures -------------------------------------------------------------------------


def test_scores_are_means_over_images_of_the_averaged_network(method, state, data):
    images, labels = data.draw(jax.random.key(2), 6)
    averaged = state.replace(params=jax.tree.map(jnp.zeros_like, state.params))
    weight = jnp.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    sums = jax.jit(method.tally)(averaged, images, labels, weight, jax.random.key(3))
    found = method.scores(jax.device_get(sums))
    assert set(found) == {"recons_err", "kl", "psnr"}

    params = state.params["autoencoder"]
    moments = np.asarray(method.moments(params, images[:4]))
    mean, log_variance = np.split(moments, 2, axis=-1)
    rebuilt = np.asarray(method.decode(params, mean))
    error = np.abs(images[:4] - rebuilt).reshape(4, -1).sum(axis=1).mean()
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).reshape(4, -1).sum(axis=1)
    levels = np.round(127.5 * np.clip(rebuilt, -1, 1) + 127.5)
    squared = np.square(levels - np.round(127.5 * np.asarray(images[:4]) + 127.5))
    psnr = 10 * np.log10(255**2 / squared.reshape(4, -1).mean(axis=1))
    np.testing.assert_allclose(found["recons_err"], error, rtol=1e-4)
    np.testing.assert_allclose(found["kl"], kl.mean(), rtol=1e-4)
    np.testing.assert_allclose(found["psnr"], psnr.mean(), rtol=1e-4)


def test_values_that_are_not_grey_levels_have_no_signal_to_noise_ratio():
    method = make(facts.make(Latents((8, 8, 3))))
    state = jax.eval_shape(method.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    one = jax.ShapeDtypeStruct((2,), jnp.float32)
    sums = jax.eval_shape(method.tally, state, images, one, one, None)
    assert set(sums) == {"count", "recons_err", "kl"}


def test_pictures_show_images_above_their_reconstructions(method, state, data):
    shown = jax.jit(method.summaries)(state, jax.random.key(2), data, {})
    assert {k: v.images.shape for k, v in shown.items()} == {
        "reconstructions": (4, 8, 8, 8, 1),
        "samples": (4, 8, 8, 8, 1),
    }
    rows = shown["reconstructions"].images
    known = {x.tobytes() for x in np.asarray(data.space.to_model(data.images))}
    for image, rebuilt in ((rows[0], rows[1]), (rows[2], rows[3])):
        assert all(x.tobytes() in known for x in np.asarray(image))
        expected = method.reconstruct(state.params["autoencoder"], image)
        np.testing.assert_allclose(rebuilt, expected, atol=1e-4)


@pytest.mark.parametrize(
    "changed,message",
    [
        ({"method.loss": "l3"}, "method.loss = 'l3'"),
        ({"method.kl_weight": -1.0}, "kl_weight = -1.0 is negative"),
        ({"method.batch_size": 2000}, "batch_size = 2000"),
        ({"model.name": "dit"}, "autoencoder_kl"),
    ],
)
def test_values_that_cannot_be_name_their_key(changed, message):
    with pytest.raises(ConfigError, match=message):
        make(**changed)


# --- the discriminator ---------------------------------------------------------------------------

NOTHING = Common(encoder=None, transform=None)
JUDGED = {
    "discriminator.weight": 0.5,
    "discriminator.start_step": 1,
    "discriminator.width": 8,
    "discriminator.layers": 1,
    "discriminator_optimizer.warmup_steps": 1,
}


@pytest.fixture(scope="module")
def judged():
    return make(**JUDGED)


def assert_close(found, expected):
    """Up to rounding of the largest gradient: that of a bias before a norm is nothing else."""
    most = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(expected))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * most),
        found, expected,
    )  # fmt: skip


def changed_kernels(before, after):
    """The layers whose kernels differ; a bias before a norm has no effect, so no gradient."""
    return {k for k in before if bool((before[k]["kernel"] != after[k]["kernel"]).any())}


def test_the_discriminator_is_trained_from_its_first_step_on(judged, data):
    """Also its optimiser waits: weight decay or momentum would move it before."""
    step = jax.jit(judged.train_step)
    fresh = jax.jit(judged.init)(jax.random.key(0))
    first, seen = step(fresh, data, jax.random.key(1), {})
    second, then = step(first, data, jax.random.key(2), {})
    for part in ("params", "opt_state"):
        before, after = (vars(s)[part]["discriminator"] for s in (fresh, first))
        jax.tree.map(np.testing.assert_array_equal, before, after)
    weights = (s.params["discriminator"] for s in (first, second))
    assert changed_kernels(*weights) == {"conv_0", "conv_1", "out_conv"}
    assert set(seen) == set(then)
    assert seen["discriminator_loss"] == seen["adversarial_weight"] == 0.0
    assert then["discriminator_loss"] > 0.0 and then["adversarial_weight"] > 0.0
    assert set(first.ema_params) == {"autoencoder"}


@pytest.mark.slow
def test_before_its_first_step_training_is_as_without_it(method, judged, data):
    key = jax.random.key(0)
    found = [
        jax.jit(m.train_step)(jax.jit(m.init)(key), data, key, {})[0] for m in (method, judged)
    ]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9),
        *(s.params["autoencoder"] for s in found),
    )


@pytest.mark.slow
def test_the_gradient_through_the_discriminator(judged, state, data):
    """It is finite, in every parameter of the autoencoder, and gets the adaptive weight."""
    images, _ = data.draw(jax.random.key(2), 8)
    noise = jax.random.normal(jax.random.key(3), (8, *judged.latent_shape))
    params = judged.init(jax.random.key(0)).params | state.params
    grads, metrics = jax.jit(judged._gradients_with_adversary)(params, (images, noise), NOTHING)

    def rebuilt(own):
        return judged.decode(own, gaussian.latents(judged.moments(own, images), noise))

    def followed(own):
        return -jnp.mean(judged.adversary.network.apply(
            {"params": params["discriminator"]}, rebuilt(own)
        ))  # fmt: skip

    def alone(own):
        error = jnp.abs(images - rebuilt(own)).sum() / 8
        return error + 1e-6 * gaussian.kl(judged.moments(own, images)).mean()

    through, own = jax.jit(lambda p: (jax.grad(followed)(p), jax.grad(alone)(p)))(
        params["autoencoder"]
    )
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(through))
    assert all(optax.tree.norm(through[half]) > 1e-4 for half in ("encoder", "decoder"))
    last = [np.linalg.norm(g["decoder"]["out_conv"]["kernel"]) for g in (own, through)]
    factor = last[0] / (last[1] + 1e-4)
    np.testing.assert_allclose(metrics["adversarial_weight"], factor, rtol=1e-3)
    expected = jax.tree.map(lambda a, b: a + 0.5 * factor * b, own, through)
    assert_close(grads["autoencoder"], expected)


def test_the_discriminators_loss_is_a_hinge(judged, state, data):
    logits = jnp.array([[-3.0, 0.5], [2.0, 0.0]])
    assert adversarial.discriminator_loss(logits, jnp.zeros((2, 2))) == 0.5 * (5.5 / 4 + 1.0)
    assert adversarial.discriminator_loss(jnp.ones((2, 2)), logits) == 0.5 * (0.0 + 5.5 / 4)
    assert adversarial.generator_loss(logits) == 0.125
    own, other = jnp.full((3, 3), 2.0), jnp.full((3, 3), 1.0)
    np.testing.assert_allclose(adversarial.adaptive_weight(own, other), 2.0, rtol=1e-4)
    assert adversarial.adaptive_weight(1e9 * own, 0.0 * other) == 1e4


@pytest.mark.slow
def test_a_judged_batch_in_parts_is_a_step_of_the_whole(judged, state, data):
    parts = make(**JUDGED, **{"method.micro_batches": 4})
    params = judged.init(jax.random.key(0)).params | state.params
    images, _ = data.draw(jax.random.key(2), 8)
    noise = jax.random.normal(jax.random.key(3), (8, *judged.latent_shape))
    found = [
        jax.jit(m._gradients_with_adversary)(params, (images, noise), NOTHING)
        for m in (judged, parts)
    ]
    assert_close(found[0][0], found[1][0])
    for name in ("loss", "adversarial_loss", "discriminator_loss", "adversarial_weight"):
        np.testing.assert_allclose(found[0][1][name], found[1][1][name], rtol=1e-4)


@pytest.mark.parametrize(
    "changed,message",
    [
        ({"weight": -0.5}, "discriminator.weight = -0.5"),
        ({"start_step": 100}, "start_step = 100 is not a step of the 100"),
        ({"layers": 2}, "discriminator.layers: 2 layers need images of at least 12 pixels"),
    ],
)
def test_a_discriminator_that_cannot_be_names_its_key(changed, message):
    with pytest.raises(ConfigError, match=message):
        make(**JUDGED | {f"discriminator.{k}": v for k, v in changed.items()})


# --- features and transformations ----------------------------------------------------------------


def test_the_distance_in_features_compares_directions(data):
    generator = np.random.default_rng(0)
    maps = [generator.standard_normal((2, 3, 4, 5)), generator.standard_normal((2, 2, 2, 7))]
    others = [generator.standard_normal(m.shape) for m in maps]
    found = losses.feature_distance([jnp.float32(m) for m in maps],
                                    [jnp.float32(3.0 * m) for m in others])  # fmt: skip
    expected = np.zeros(2)
    for a, b in zip(maps, others, strict=True):
        cosine = np.sum(a * b, axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
        expected += np.mean(2 - 2 * cosine, axis=(1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    gradient = jax.grad(lambda x: losses.feature_distance([x], [jnp.ones((1, 1, 1, 3))])[0])
    assert np.isfinite(gradient(jnp.zeros((1, 1, 1, 3)))).all()


def test_the_distance_in_features_is_a_part_of_the_loss(state, data):
    """An encoder of one map, the images themselves: with one channel only signs are compared."""

    def encode(parameters, images):
        stage = parameters * jnp.concatenate([images, jnp.ones_like(images)], axis=-1)
        return Activations(jnp.zeros((1, 1)), jnp.zeros((1, 1)), {"stage1": stage})

    settings = {"method.encoder": "some", "method.perceptual_weight": 0.25}
    config = base.of("autoencoder")
    config.update_from_flattened_dict(SMALL | settings)
    encoder = Encoder("some", (8, 8, 1), jnp.float32(2.0), encode, "")
    method = methods.create(config, FACTS, {"encoder": encoder})
    frozen = {"encoder": encoder.parameters}
    _, found = jax.jit(method.train_step)(state, data, jax.random.key(1), frozen)
    assert set(found) == {"loss", "recons_err", "kl", "perceptual", "grad_norm", "lr"}
    assert 0.0 < found["perceptual"] < 4.0
    expected = found["recons_err"] + 1e-6 * found["kl"] + 64 * 0.25 * found["perceptual"]
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)


def test_transformed_maps_are_turned_and_scaled():
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    for turns in range(4):
        found = equivariance.transformed(x, 4, jnp.int32(turns))
        np.testing.assert_array_equal(found, np.rot90(x, turns, axes=(1, 2)))
    small = equivariance.transformed(x, 1, jnp.int32(0))
    assert small.shape == (2, 1, 1, 3)
    flat = jnp.broadcast_to(x[:, :1, :1], x.shape)
    np.testing.assert_allclose(equivariance.transformed(flat, 3, jnp.int32(2)), flat[:, :3, :3],
                               rtol=1e-5)  # fmt: skip
    assert equivariance.sides(8) == (2, 4, 6, 8) and equivariance.sides(2) == (1, 2)


def test_transformations_are_drawn_as_often_as_asked():
    keys = jax.random.split(jax.random.key(0), 4000)
    place, turns = jax.vmap(lambda k: equivariance.draw(k, 0.8, 8))(keys)
    shares = np.bincount(place * 4 + turns, minlength=16) / 4000
    expected = np.full(16, 0.8 / 16)
    expected[12] += 0.2  # full size, not turned
    assert np.abs(shares - expected).max() < 4 * np.sqrt(0.25 * 0.75 / 4000)
    place, turns = jax.vmap(lambda k: equivariance.draw(k, 0.0, 8))(keys)
    assert set(np.asarray(place)) == {3} and set(np.asarray(turns)) == {0}


@pytest.mark.slow
def test_latents_of_a_transformed_image_are_decoded_alike(method, state, data):
    """The error is that of the transformed image, as if it had all values of an image."""
    images, _ = data.draw(jax.random.key(2), 8)
    noise = jnp.zeros((8, *method.latent_shape))
    params = state.params["autoencoder"]
    means = gaussian.split(method.moments(params, images))[0]
    for place, side in enumerate(equivariance.sides(4)):
        common = Common(None, (jnp.int32(place), jnp.int32(3)))
        found, _ = jax.jit(method._mean_losses)(params, images, noise, common)
        target = np.rot90(jax.image.resize(images, (8, 2 * side, 2 * side, 1), "linear"), 3, (1, 2))
        latents = np.rot90(jax.image.resize(means, (8, side, side, means.shape[3]), "linear"), 3,
                           (1, 2))  # fmt: skip
        rebuilt = method.decode(params, jnp.asarray(latents))
        expected = 64 * np.abs(target - rebuilt).mean()
        np.testing.assert_allclose(found["recons_err"], expected, rtol=1e-4)


@pytest.mark.slow
def test_a_step_with_transformations_is_finite(data):
    method = make(**{"method.equivariance_probability": 1.0, "model.widths": (8, 8, 8)})
    state = jax.jit(method.init)(jax.random.key(0))
    _, metrics = jax.jit(method.train_step)(state, data, jax.random.key(1), {})
    assert np.isfinite(metrics["loss"]) and metrics["grad_norm"] > 0.0


@pytest.mark.parametrize(
    "given,message",
    [
        ({"method.equivariance_probability": 1.5}, "equivariance_probability = 1.5 is not in"),
        (JUDGED | {"method.equivariance_probability": 0.5}, "does not go together with"),
        (
            {"method.equivariance_probability": 0.5, "method.encoder": "some"},
            "equivariance_probability = 0.5, but config.method.encoder is set",
        ),
        ({"method.perceptual_weight": -1.0}, "perceptual_weight = -1.0 is negative"),
    ],
)
def test_options_that_cannot_be_name_their_key(given, message):
    with pytest.raises(ConfigError, match=message):
        make(**given)

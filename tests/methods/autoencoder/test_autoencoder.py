"""The variational autoencoder's method: its loss, its steps, its scores and pictures."""

import facts
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_autoencoder import make

from drifting.core import fidelity
from drifting.core.errors import ConfigError
from drifting.methods.autoencoder import losses
from input_pipeline.space import Latents

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


@pytest.mark.slow  # tests/methods/test_classifier.py has a fast one
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

"""The distance in features and the transformations of an autoencoder, and bad options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_autoencoder import FACTS, JUDGED, SMALL, make

from configs import base
from drifting import methods
from drifting.core import gaussian
from drifting.core.errors import ConfigError
from drifting.core.networks import Encoder
from drifting.methods.autoencoder import equivariance, losses
from drifting.methods.autoencoder.method import Common
from models.activations import Activations

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

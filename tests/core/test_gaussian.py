"""The Gaussian of latents: bounds, draws, and the divergence from the prior."""

import jax
import jax.numpy as jnp
import numpy as np

from drifting.core import gaussian


def moments(shape=(3, 2, 2, 8)):
    return jax.random.normal(jax.random.key(0), shape)


def test_the_divergence_is_zero_only_for_the_prior():
    prior = jnp.zeros((2, 2, 2, 8))
    assert gaussian.kl(prior).tolist() == [0.0, 0.0]
    for channel in range(8):  # a mean or a log-variance, of either sign
        for value in (-0.1, 0.1):
            other = gaussian.kl(prior.at[1, 0, 1, channel].set(value))
            assert other[0] == 0.0 and other[1] > 1e-4


def test_the_divergence_of_one_number():
    mean, log_variance = 0.7, -1.3
    found = gaussian.kl(jnp.array([mean, log_variance]).reshape(1, 1, 1, 2))
    expected = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_its_gradient_is_the_mean_and_half_of_the_variance_minus_one():
    given = moments()
    mean, log_variance = np.split(np.asarray(given), 2, axis=-1)
    grad = jax.grad(lambda m: jnp.sum(gaussian.kl(m)))(given)
    expected = np.concatenate([mean, 0.5 * (np.exp(log_variance) - 1)], axis=-1)
    np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-6)


def test_a_log_variance_beyond_its_bounds_has_no_gradient():
    given = jnp.array([0.0, 0.0, -31.0, 21.0]).reshape(1, 1, 1, 4)
    _, log_variance = gaussian.split(given)
    assert log_variance.ravel().tolist() == [-30.0, 20.0]
    grad = jax.grad(lambda m: jnp.sum(gaussian.kl(m)))(given)
    assert grad.ravel().tolist() == [0.0] * 4


def test_draws_have_the_mean_and_the_variance():
    given = jnp.broadcast_to(jnp.array([1.5, -2.0, np.log(4.0), -30.0]), (50_000, 1, 1, 4))
    drawn = np.asarray(gaussian.draw(given, jax.random.key(1))).reshape(-1, 2)
    np.testing.assert_allclose(drawn.mean(axis=0), [1.5, -2.0], atol=0.05)
    np.testing.assert_allclose(drawn.std(axis=0), [2.0, 0.0], atol=0.03)

"""The losses of logits by hand, and the penalties of linear discriminators, which are exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.losses import adversarial

LOGITS = jnp.array([[-3.0, 0.5], [2.0, 0.0]])
ONE, ZERO = jnp.ones((2, 2)), jnp.zeros((2, 2))
LOG_2 = np.log(2.0)


def test_the_hinge_loss():
    assert adversarial.discriminator_loss("hinge", LOGITS, ZERO) == 0.5 * (5.5 / 4 + 1.0)
    assert adversarial.discriminator_loss("hinge", ONE, LOGITS) == 0.5 * (0.0 + 5.5 / 4)
    assert adversarial.generator_loss("hinge", LOGITS) == 0.125


@pytest.mark.parametrize(
    "name,discriminator,generator",
    [
        # Real logits 1, fake logits 0; the generator's fakes have logits LOGITS.
        ("hinge", 0.5 * (0.0 + 1.0), 0.125),
        ("lsgan", 0.0, (16.0 + 0.25 + 1.0 + 1.0) / 4),
        ("vanilla", 0.5 * (np.log1p(np.exp(-1.0)) + LOG_2), None),
        ("nonsaturating", 0.5 * (np.log1p(np.exp(-1.0)) + LOG_2), None),
        ("wgangp", -0.5, 0.125),
    ],
)
def test_every_loss_by_hand(name, discriminator, generator):
    if generator is None:
        generator = np.mean(np.log1p(np.exp(-np.asarray(LOGITS))))
    found = adversarial.discriminator_loss(name, ONE, ZERO)
    np.testing.assert_allclose(found, discriminator, rtol=1e-6)
    np.testing.assert_allclose(adversarial.generator_loss(name, LOGITS), generator, rtol=1e-6)


def test_each_loss_is_known_and_each_scale_has_the_same_weight():
    assert set(adversarial.LOSSES) == {"hinge", "lsgan", "vanilla", "nonsaturating", "wgangp"}
    two = (jnp.full((2, 4, 4, 1), 3.0), jnp.full((2, 2, 2, 1), 1.0))
    assert adversarial.generator_loss("wgangp", two) == -2.0
    assert adversarial.fake_loss("lsgan", two) == 0.5 * (9.0 + 1.0)
    with pytest.raises(KeyError, match="hing"):
        adversarial.real_loss("hing", two)


# --- penalties of the gradient -------------------------------------------------------------------

WEIGHTS = jnp.array([[3.0, 0.0], [0.0, -4.0]])[..., None]  # of norm 5
IMAGES = jax.random.normal(jax.random.key(0), (6, 2, 2, 1))


def linear(weights):
    return lambda images: jnp.einsum("bhwc,hwc->b", images, weights)


def test_r1_of_a_linear_discriminator_is_the_squared_norm_of_its_weights():
    assert adversarial.r1(linear(WEIGHTS), IMAGES) == 25.0
    slope = jax.grad(lambda w: adversarial.r1(linear(w), IMAGES))(WEIGHTS)
    np.testing.assert_allclose(slope, 2.0 * WEIGHTS, rtol=1e-6)


def test_r1_is_of_the_sum_of_the_logits_of_an_image():
    def two_scales(images):
        first = linear(WEIGHTS)(images)
        return jnp.stack([first, first], axis=1), -first  # the sum over both scales is `first`

    assert adversarial.r1(two_scales, IMAGES) == 25.0
    found = adversarial.r1(lambda x: jnp.sum(jnp.square(x), axis=(1, 2, 3)), IMAGES)
    expected = np.mean(np.sum(np.square(2.0 * np.asarray(IMAGES)), axis=(1, 2, 3)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_gradient_penalty_of_a_linear_critic():
    key = jax.random.key(1)
    assert adversarial.gradient_penalty(linear(WEIGHTS), IMAGES, -IMAGES, key) == 16.0
    penalty = lambda w: adversarial.gradient_penalty(linear(w), IMAGES, -IMAGES, key)  # noqa: E731
    expected = 2.0 * (5.0 - 1.0) * WEIGHTS / 5.0
    np.testing.assert_allclose(jax.grad(penalty)(WEIGHTS), expected, rtol=1e-6)
    assert penalty(0.0 * WEIGHTS) == 1.0
    np.testing.assert_array_equal(jax.grad(penalty)(0.0 * WEIGHTS), 0.0)


def test_the_gradient_penalty_is_taken_between_real_and_fake():
    """At a + (1 - a) * 3 with one a per image; the gradient of x^2 / 2 is the point itself."""
    real, fake = jnp.ones((512, 1, 1, 1)), jnp.full((512, 1, 1, 1), 3.0)
    critic = lambda x: 0.5 * jnp.square(x)  # noqa: E731
    found = adversarial.gradient_penalty(critic, real, fake, jax.random.key(0))
    np.testing.assert_allclose(found, 4.0 / 3.0, rtol=0.1)  # the mean of (2 (1 - a))^2

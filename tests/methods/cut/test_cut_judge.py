"""The discriminator's loss and penalties, of a linear one whose gradients are known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_cut import make

from drifting.methods.cut.judge import Judge

SHAPE = (4, 2, 2, 1)


class Linear(nn.Module):
    """The logit of an image is the sum of weights times pixels."""

    @nn.compact
    def __call__(self, images, update_stats=False):
        weights = self.param("weights", nn.initializers.normal(1.0), SHAPE[1:])
        return (jnp.einsum("bhwc,hwc->b", images, weights)[:, None, None],)


@pytest.fixture
def case():
    """case(**settings) -> judge, variables, weights, real and fake images."""

    def build(**changed):
        judge = Judge(make(**{f"method.{k}": v for k, v in changed.items()}).settings, Linear())
        weights = jnp.array([[0.3, -0.2], [0.5, 0.1]])[..., None]
        real, fake = jax.random.normal(jax.random.key(0), (2, *SHAPE))
        return judge, {"params": {"weights": weights}}, np.asarray(weights), real, fake

    return build


def test_the_hinge_loss_and_its_gradient(case):
    judge, variables, weights, real, fake = case()
    grads, stats, metrics = judge.gradients(variables, real, fake, jax.random.key(1))
    logits = [np.einsum("bhwc,hwc->b", x, weights) for x in (real, fake)]
    expected = 0.5 * (np.maximum(0, 1 - logits[0]).mean() + np.maximum(0, 1 + logits[1]).mean())
    np.testing.assert_allclose(metrics["d_loss"], expected, rtol=1e-5)
    inside = (logits[0] < 1)[:, None, None, None], (logits[1] > -1)[:, None, None, None]
    gradient = 0.5 * (np.where(inside[1], fake, 0).mean(axis=0)
                      - np.where(inside[0], real, 0).mean(axis=0))  # fmt: skip
    np.testing.assert_allclose(grads["weights"], gradient, rtol=1e-4, atol=1e-6)
    assert stats == {}


def test_the_gradient_penalty_of_wgangp(case):
    """|gradient| is |weights| everywhere."""
    judge, variables, weights, real, fake = case(loss="wgangp", gradient_penalty_weight=10.0)
    grads, _, metrics = judge.gradients(variables, real, fake, jax.random.key(1))
    length = np.linalg.norm(weights)
    np.testing.assert_allclose(metrics["gradient_penalty"], (length - 1) ** 2, rtol=1e-5)
    judged = (np.mean(fake, axis=0) - np.mean(real, axis=0)) / 2
    expected = judged + 10.0 * 2 * (length - 1) * weights / length
    np.testing.assert_allclose(grads["weights"], expected, rtol=1e-4)


def test_r1_at_every_fourth_step_is_four_times_as_strong(case):
    judge, variables, weights, real, _ = case(r1_gamma=10.0, r1_every=4)
    before = {"weights": jnp.ones(SHAPE[1:])}
    added = np.zeros(SHAPE[1:])
    value = jnp.float32(7.0)
    for step in range(8):
        grads, value = judge.with_r1(before, variables, real, jnp.int32(step), value)
        np.testing.assert_allclose(value, np.sum(np.square(weights)), rtol=1e-5)
        more = np.asarray(grads["weights"]) - 1.0
        assert (np.abs(more).max() > 0) == (step % 4 == 0)
        added += more / 8
    # Its mean over the steps is the gradient of gamma / 2 |weights|^2.
    np.testing.assert_allclose(added, 10.0 * weights, rtol=1e-4)

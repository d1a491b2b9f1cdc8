"""The discriminator of an autoencoder: when it is trained, its losses and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_autoencoder import JUDGED, make

from drifting.core import gaussian
from drifting.core.errors import ConfigError
from drifting.methods.autoencoder import adversarial
from drifting.methods.autoencoder.method import Common

NOTHING = Common(encoder=None, transform=None)


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


def test_the_weight_is_the_ratio_of_the_gradients():
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

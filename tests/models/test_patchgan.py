"""The discriminator of patches: what it refuses, and its options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from models.patchgan import PatchGAN

SMALL = dict(width=2, layers=1)


def with_variables(network, images):
    return network, network.init(jax.random.key(0), images)


@pytest.mark.parametrize("resampling", ["strided", "antialias"])
def test_images_without_a_patch_are_refused(resampling):
    network = PatchGAN(width=4, layers=2, resampling=resampling)
    with pytest.raises(ValueError, match="2 layers need images of at least 12 pixels, not 16 x 8"):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 16, 8, 1)))
    (logits,), _ = jax.eval_shape(
        network.init_with_output, jax.random.key(0), jnp.zeros((2, 12, 16, 1))
    )
    assert logits.shape == (2, 1, 2) and logits.dtype == jnp.float32


def test_more_scales_need_larger_images():
    network = PatchGAN(scales=3, **SMALL)
    with pytest.raises(ValueError, match="1 layers at 3 scales need .* at least 21 pixels, not 20"):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 20, 20, 1)))
    logits, _ = jax.eval_shape(
        network.init_with_output, jax.random.key(0), jnp.zeros((1, 21, 21, 1))
    )
    assert [x.shape for x in logits] == [(1, 8, 8), (1, 3, 3), (1, 1, 1)]


def test_the_first_scale_is_the_plain_network_and_the_second_one_sees_means():
    images = jax.random.normal(jax.random.key(1), (1, 11, 12, 3))
    network, variables = with_variables(PatchGAN(scales=2, **SMALL), images)
    logits, maps = network.apply(variables, images, method="with_features")
    plain, params = PatchGAN(**SMALL), variables["params"]
    first = {k: v for k, v in params.items() if not k.startswith("scale_1_")}
    second = {k.removeprefix("scale_1_"): v for k, v in params.items() if k not in first}
    halved = nn.avg_pool(images, (3, 3), (2, 2), ((1, 1), (1, 1)), count_include_pad=False)
    np.testing.assert_allclose(halved[0, 0, 0], jnp.mean(images[0, :2, :2], (0, 1)), rtol=1e-4)
    expected = [
        plain.apply({"params": first}, images, method="with_features"),
        plain.apply({"params": second}, halved, method="with_features"),
    ]
    for found, own in zip(logits, expected, strict=True):
        np.testing.assert_allclose(found, own[0][0], rtol=1e-5, atol=1e-6)
    for found, own in zip(maps, expected[0][1] + expected[1][1], strict=True):
        np.testing.assert_allclose(found, own, rtol=1e-5, atol=1e-6)


def test_spectral_norm_divides_each_kernel_by_its_largest_singular_value():
    images = jax.random.normal(jax.random.key(1), (1, 8, 8, 3))
    network, variables = with_variables(PatchGAN(spectral_norm=True, **SMALL), images)
    assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(
        jnp.shape, PatchGAN(**SMALL).init(jax.random.key(0), images)["params"]
    )

    @jax.jit
    def advance(variables):
        return network.apply(variables, images, True, mutable="batch_stats")[1]

    for _ in range(30):
        variables |= advance(variables)
    normed = jax.tree.map(
        lambda x: x / np.linalg.norm(x.reshape(-1, x.shape[-1]), 2) if x.ndim > 1 else x,
        variables["params"],
    )
    expected = PatchGAN(**SMALL).apply({"params": normed}, images)
    found = network.apply(variables, images)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-5)


def test_what_is_unknown_is_refused():
    for values, message in (
        (dict(resampling="nearest"), "resampling 'nearest' is not one of antialias, strided"),
        (dict(initializer="he"), "initializer 'he' is not one of xavier, normal"),
        (dict(scales=0), "scales 0 is not at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(PatchGAN(**values).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))

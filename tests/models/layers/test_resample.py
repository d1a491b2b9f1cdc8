"""Maps of half and of twice the size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers.resample import blur_double, blur_halve, downsample, nearest, upsample


@pytest.mark.parametrize("taps", [(1, 1), (1, 3, 3, 1), (1, 2, 4, 4, 2, 1)])
def test_resampling_is_a_depthwise_convolution_and_its_transpose(taps):
    x = jax.random.normal(jax.random.key(0), (2, 8, 4, 3))
    y = jax.random.normal(jax.random.key(1), (2, 4, 2, 3))
    kernel = np.outer(taps, taps) / np.sum(taps) ** 2
    kernel = jnp.asarray(np.tile(kernel[:, :, None, None], (1, 1, 1, 3)), jnp.float32)
    pad = len(taps) // 2 - 1
    convolved = jax.lax.conv_general_dilated(
        x,
        kernel,
        (2, 2),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=3,
    )
    np.testing.assert_allclose(downsample(x, taps), convolved, atol=1e-6)
    doubled = upsample(y, taps)
    np.testing.assert_allclose(jnp.vdot(doubled, x), 4 * jnp.vdot(y, convolved), rtol=1e-4)
    if taps == (1, 1):
        np.testing.assert_allclose(doubled, nearest(y), atol=1e-6)


def test_blurs_mirror_and_repeat_the_edges():
    row = jnp.array([0.0, 4.0, 8.0, 20.0, 0.0])
    x = jnp.stack([row, row])[None, ..., None]
    np.testing.assert_allclose(blur_halve(x)[0, :, :, 0], [[2.0, 10.0, 10.0]])
    expected = [0.0, 1.0, 3.0, 5.0, 7.0, 11.0, 17.0, 15.0, 5.0, 0.0]
    np.testing.assert_allclose(blur_double(x)[0, :, :, 0], np.tile(expected, (4, 1)))
    with pytest.raises(ValueError, match="a map of 1 pixels a side is too small"):
        blur_halve(x[:, :1])

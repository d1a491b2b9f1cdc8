"""Maps of half and of twice the size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers.resample import downsample, nearest, upsample


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

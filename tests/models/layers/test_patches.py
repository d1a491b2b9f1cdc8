"""Images as patches and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers import patches


def test_folding_comes_back_and_orders_row_column_channel():
    x = jax.random.normal(jax.random.key(0), (2, 4, 8, 3))
    folded = patches.fold(x, 2)
    assert folded.shape == (2, 2, 4, 12)
    np.testing.assert_array_equal(folded[1, 1, 2].reshape(2, 2, 3), x[1, 2:4, 4:6])
    np.testing.assert_array_equal(patches.unfold(folded, 2), x)


def test_patches_come_back():
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    tokens = patches.patchify(images, 4)
    assert tokens.shape == (2, 4, 48)
    np.testing.assert_array_equal(tokens[0, 1].reshape(4, 4, 3), images[0, :4, 4:])
    np.testing.assert_array_equal(patches.unpatchify(tokens, 4, 8), images)


@pytest.mark.parametrize("patch", [0, 3])
def test_other_images_are_refused(patch):
    with pytest.raises(ValueError, match=f"patch size {patch} does not divide image size 8"):
        patches.patchify(jnp.zeros((1, 8, 8, 3)), patch)
    with pytest.raises(ValueError, match="must be square images"):
        patches.patchify(jnp.zeros((1, 8, 4, 3)), 2)


def test_merging_and_spreading_are_convolutions_over_patches():
    x = jax.random.normal(jax.random.key(0), (2, 4, 6, 3))
    merge, spread = patches.Merge(5, jnp.float32), patches.Spread(5, jnp.float32)
    merged, spreading = merge.init(jax.random.key(1), x), spread.init(jax.random.key(2), x)
    layout = dict(dimension_numbers=("NHWC", "HWIO", "NHWC"))
    expected = jax.lax.conv_general_dilated(
        x, merged["params"]["kernel"], (2, 2), "VALID", **layout
    )
    np.testing.assert_allclose(merge.apply(merged, x), expected, atol=1e-5)
    # The transpose of a convolution is its gradient with respect to its input.
    kernel = spreading["params"]["kernel"]  # [2, 2, 5, 3], that of a convolution from 5 to 3
    expected = jax.lax.conv_transpose(x, kernel, (2, 2), "VALID", transpose_kernel=True, **layout)
    np.testing.assert_allclose(spread.apply(spreading, x), expected, atol=1e-5)
    bias = jnp.arange(5.0)
    shifted = [
        layer.apply({"params": {**variables["params"], "bias": bias}}, x)
        - layer.apply(variables, x)
        for layer, variables in ((merge, merged), (spread, spreading))
    ]
    for difference in shifted:
        np.testing.assert_allclose(difference, np.broadcast_to(bias, difference.shape), atol=1e-5)

"""The discriminator of patches: what it refuses, and its options."""

import jax
import jax.numpy as jnp
import pytest

from models.patchgan import PatchGAN


def test_images_without_a_patch_are_refused():
    network = PatchGAN(width=4, layers=2)
    with pytest.raises(ValueError, match="at least 12 pixels, not 16 x 8"):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 16, 8, 1)))
    (logits,), _ = jax.eval_shape(
        network.init_with_output, jax.random.key(0), jnp.zeros((2, 12, 16, 1))
    )
    assert logits.shape == (2, 1, 2)

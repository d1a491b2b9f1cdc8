"""The patch discriminator, against the reference's numbers, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.patch_discriminator import PatchDiscriminator

NAMES = {"conv_0": 0, "conv_1": 2, "conv_2": 5, "conv_3": 8, "out_conv": 11}


def test_the_reference_numbers(golden):
    numbers = golden("07_cut_networks.npz")
    params = {
        name: {
            "kernel": jnp.transpose(numbers[f"w.Dna.model.{i}.weight"], (2, 3, 1, 0)),
            "bias": jnp.asarray(numbers[f"w.Dna.model.{i}.bias"]),
        }
        for name, i in NAMES.items()
    }
    images = jnp.moveaxis(numbers["in.image"], 1, -1)
    found = PatchDiscriminator(width=4).apply({"params": params}, images)
    np.testing.assert_allclose(found, numbers["out.Dna.map"][:, 0], rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("channels,expected", [(3, 2_764_737), (1, 2_762_689)])
def test_the_number_of_parameters(channels, expected):
    images = jnp.zeros((1, 64, 64, channels))
    shapes = jax.eval_shape(PatchDiscriminator().init, jax.random.key(0), images)
    assert sum(x.size for x in jax.tree.leaves(shapes)) == expected


def test_images_without_a_patch_are_refused():
    network = PatchDiscriminator(width=4, layers=2)
    with pytest.raises(ValueError, match="at least 12 pixels, not 16 x 8"):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 16, 8, 1)))
    shape = jax.eval_shape(
        lambda key: network.init_with_output(key, jnp.zeros((2, 12, 16, 1)))[0], jax.random.key(0)
    ).shape
    assert shape == (2, 1, 2)

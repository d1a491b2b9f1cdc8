"""The KL autoencoder: counts, places of attention, what is refused; goldens have the numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.core.errors import ConfigError
from models import registry
from models.autoencoder_kl import VARIANTS

CUBE = (64, 64, 1028)  # the scientific images of the published configuration
SMALL = dict(widths=(8, 16), num_heads=2, latent_channels=3, inner_channels=5)


def create(values=SMALL, shape=(8, 8, 2), dtype="float32", **others):
    return registry.create("autoencoder_kl", {**values, **others}, shape, 10, dtype)


def shapes_of(network, shape=(8, 8, 2)):
    images = jnp.zeros((1, *shape))
    return jax.eval_shape(network.init, jax.random.key(0), images)["params"]


def count(shapes):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def output_of(network, shape, method, params=None):
    """The shape and the type of what a method of a network gives."""
    params = params or shapes_of(network)
    apply = functools.partial(network.apply, method=method)
    return jax.eval_shape(apply, {"params": params}, jnp.zeros(shape))


@pytest.mark.parametrize(
    "variant,others,shape,expected",
    [
        ("mltools", {}, CUBE, 27_289_893),
        ("mltools", dict(unused_resampling=False), CUBE, 27_289_893 - 1_114_752),
        ("mltools", dict(logvar=False), CUBE, 27_289_892),
        ("stable_diffusion", {}, (256, 256, 3), 83_653_863),
    ],
)
def test_parameter_counts(variant, others, shape, expected):
    assert count(shapes_of(create(VARIANTS[variant], shape, **others), shape)) == expected


def test_the_nano_variant_is_small():
    shape = (32, 32, 3)
    assert count(shapes_of(create(VARIANTS["nano"], shape), shape)) < 1e6


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_shapes_and_types(dtype):
    network = create(dtype=dtype)
    moments = output_of(network, (2, 8, 12, 2), "encode")
    assert moments.shape == (2, 4, 6, 6) and moments.dtype == jnp.float32
    assert network.latent_shape(8, 12) == (4, 6, 3)
    decoded = output_of(network, (2, 4, 6, 3), "decode")
    assert decoded.shape == (2, 8, 12, 2) and decoded.dtype == jnp.float32
    assert output_of(network, (2, 8, 12, 2), "__call__") == decoded
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(shapes_of(network)))


def test_moments_and_images_are_zero_before_training():
    network = create(widths=(8,), middle_attention=False)
    images = jax.random.normal(jax.random.key(1), (1, 4, 4, 2))

    @jax.jit
    def made(key):
        params = network.init(key, images)
        return network.apply(params, images, method="encode"), network.apply(params, images)

    # Another generator of random numbers, as the usual one takes long to compile.
    moments, decoded = made(jax.random.key(0, impl="unsafe_rbg"))
    assert not np.any(moments) and not np.any(decoded)


def test_the_logarithm_of_the_variance_is_a_parameter_where_asked_for():
    assert shapes_of(create(logvar=True))["logvar"].shape == ()
    assert "logvar" not in shapes_of(create())


def test_attention_is_at_the_same_sizes_in_both_halves():
    parts = shapes_of(create(attention_resolutions=(4,), blocks_per_level=2))
    for half in ("encoder", "decoder"):
        assert {name for name in parts[half] if "attention" in name} == {
            "level_1_attention_0",
            "level_1_attention_1",
            "middle_attention",
        }
    parts = shapes_of(create(middle_attention=False))
    assert not [name for half in ("encoder", "decoder") for name in parts[half] if "att" in name]


@pytest.mark.parametrize("resolutions,encoder,decoder", [((8,), {1}, set()), ((4, 2), {2}, {2, 1})])
def test_attention_where_mltools_has_it(resolutions, encoder, decoder):
    """Its decoder takes the levels 2, 1 and 0 of an image of 16x16 to be of heights 4, 2 and 1."""
    options = dict(attention_resolutions=resolutions, mltools_attention=True)
    shape = (16, 16, 2)
    parts = shapes_of(create(shape=shape, widths=(8, 8, 8), **options), shape)
    for half, levels in (("encoder", encoder), ("decoder", decoder)):
        found = {name for name in parts[half] if name.startswith("level") and "attention" in name}
        assert found == {f"level_{level}_attention_0" for level in levels}


def test_images_of_another_size_attend_at_the_same_levels():
    network = create(attention_resolutions=(4,))
    assert output_of(network, (2, 16, 16, 2), "__call__").shape == (2, 16, 16, 2)


def test_unused_resampling_counts_and_nothing_reads_it():
    used, kept = (shapes_of(create(unused_resampling=unused)) for unused in (False, True))
    for half, name in (("encoder", "level_1_down"), ("decoder", "level_0_up")):
        assert kept[half].keys() - used[half].keys() == {name}
    network = create(unused_resampling=True)
    assert output_of(network, (2, 8, 8, 2), "__call__", used).shape == (2, 8, 8, 2)


@pytest.mark.parametrize(
    "values,shape,message",
    [
        ({}, (9, 9, 2), "config.model: 2 widths need image sides that are multiples of 2, not 9 x"),
        (dict(widths=(8, 8, 8)), (30, 30, 2), "multiples of 4, not 30 x 30; change config.data.im"),
        (dict(widths=(12,)), (8, 8, 2), "widths = .12,. must be multiples of norm_groups = 8, one"),
        (dict(widths=()), (8, 8, 2), "widths = .. must be multiples of norm_groups = 8, one for"),
        (dict(num_heads=3), (8, 8, 2), "config.model: 3 heads do not divide a width of 16"),
        (dict(kernel=2), (8, 8, 2), "config.model: kernel = 2 is even; choose an odd one, such as"),
        (dict(latent_channels=0), (8, 8, 2), "latent_channels = 0 is not positive; set 1 or more"),
        (dict(attention_resolutions=(5,)), (8, 8, 2), "contains 5, but .* heights 8, 4$"),
        (dict(activation="relu"), (8, 8, 2), "activation 'relu' is not one of gelu, silu"),
        (dict(downsampling="mean"), (8, 8, 2), "downsampling 'mean' is not one of conv2x2, conv3"),
        (dict(upsampling="cubic"), (8, 8, 2), "upsampling 'cubic' is not one of transposed, near"),
    ],
)
def test_what_does_not_fit_is_refused(values, shape, message):
    with pytest.raises(ConfigError, match=message):
        create(shape=shape, **values)


def test_images_that_do_not_fit_are_refused():
    network = create()
    for shape, message in (((2, 8, 7, 2), "not 8 x 7"), ((2, 8, 8, 3), "not .B, H, W, 2.")):
        with pytest.raises(ValueError, match=message):
            network.init(jax.random.key(0), jnp.zeros(shape))

"""The U-Nets: sizes, inputs, derivatives and blocks; goldens have the numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import unet, unet_blocks
from models.conditions import Condition

# Two levels of one block: one of everything. The middle alone, where compilation takes long.
MIDDLE = dict(channel_mult=(1,), num_blocks=0)
COMMON = dict(channel_mult=(1, 2), num_blocks=1, attention_resolutions=(4,))
SMALL = {
    "song": functools.partial(unet.SongUNet, **COMMON, model_channels=16, augment_dim=6),
    "film": functools.partial(unet.FilmUNet, **COMMON, model_channels=64, num_heads=2),
}
NETWORKS = tuple(SMALL)


def inputs(batch=3, size=8):
    z = jax.random.normal(jax.random.key(1), (batch, size, size, 3))
    t = jnp.linspace(0.3, 0.9, batch)
    return z, Condition(t, t / 3, jnp.arange(batch, dtype=jnp.int32) % 10)


def shapes_of(model, *given):
    return jax.eval_shape(model.init, jax.random.key(0), *(given or inputs()))


@functools.cache
def drawn(name, **options):
    """(jitted apply, variables) of a small network with no zeros, where a fresh one has many."""
    model = SMALL[name](10, **options)
    generator = np.random.default_rng(2)

    def draw(path, x):
        # Small, as a FiLM scale near -1 leaves the norm after it without a usable derivative.
        spread = 0.2 if x.ndim == 1 else 0.5 / np.sqrt(np.prod(x.shape[:-1]))
        centre = float(path[-1].key == "scale")
        return jnp.asarray(centre + spread * generator.standard_normal(x.shape), x.dtype)

    return jax.jit(model.apply), jax.tree_util.tree_map_with_path(draw, shapes_of(model))


@pytest.mark.parametrize(
    "network,options,expected",
    [
        (unet.SongUNet, unet.SONG_SIZES["ncsnpp"], 55_929_347),
        (unet.SongUNet, unet.SONG_SIZES["ncsnpp"] | dict(augment_dim=6), 55_932_419),
        (unet.FilmUNet, unet.FILM_SIZES["film"], 51_561_219),
        (unet.FilmUNet, unet.FILM_SIZES["film_wide"], 58_570_755),
        (
            unet.FilmUNet,
            unet.FILM_SIZES["film"] | dict(num_blocks=2, attention_resolutions=(16,)),
            37_325_443,
        ),
        (unet.FilmUNet, unet.FILM_SIZES["film"] | dict(shared_time=True), 50_707_715),
    ],
)
def test_parameter_counts(network, options, expected):
    shapes = shapes_of(network(0, **options), *inputs(1, 32))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == expected


def test_nano_sizes_are_small():
    for model in (
        unet.SongUNet(10, **unet.SONG_SIZES["nano"]),
        unet.FilmUNet(10, **unet.FILM_SIZES["nano"]),
    ):
        shapes = shapes_of(model, *inputs(1, 32))
        assert 2e5 < sum(x.size for x in jax.tree.leaves(shapes)) < 5e5


@pytest.mark.parametrize("name,bound", [("song", 1e-3), ("film", 0.0)])
def test_a_fresh_network_is_nearly_zero(name, bound):
    # Another generator of random numbers, as the usual one takes long to compile.
    key = jax.random.key(0, impl="unsafe_rbg")
    u, _ = jax.jit(SMALL[name](10, **MIDDLE).init_with_output)(key, *inputs())
    assert jnp.abs(u).max() <= bound


def test_fresh_kernels_have_the_published_spreads():
    """EDM's: uniform Xavier, 1e-5 of it ahead of a sum, sqrt(0.2) of it for queries and keys."""

    def spread(kernel):
        area = np.prod(kernel.shape[:-2], initial=1.0)
        return float(jnp.std(kernel)) * np.sqrt(area * sum(kernel.shape[-2:]) / 2)

    style, x = unet.SONG_STYLE, jnp.ones((1, 2, 2, 32))
    key = jax.random.key(0, impl="unsafe_rbg")
    block = unet_blocks.ResBlock(32, style, 0.0, jnp.float32)
    condition = jnp.ones((1, 16))
    params = jax.jit(lambda key: block.init(key, x, condition, False))(key)["params"]
    assert spread(params["conv1"]["kernel"]) == pytest.approx(1.0, rel=0.05)
    assert spread(params["conv2"]["kernel"]) == pytest.approx(1e-5, rel=0.05)
    assert not params["conv1"]["bias"].any()
    attention = unet_blocks.Attention(1, style, False, jnp.float32)
    params = jax.jit(attention.init)(key, x)["params"]
    assert spread(params["qkv"]["dense"]["kernel"]) == pytest.approx(np.sqrt(0.2), rel=0.05)
    assert spread(params["proj"]["dense"]["kernel"]) == pytest.approx(1e-5, rel=0.05)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_and_output_are_float32_whatever_the_computation(name):
    model = SMALL[name](10, dtype=jnp.bfloat16)
    shapes = jax.eval_shape(model.init_with_output, jax.random.key(0), *inputs())
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    assert shapes[0].shape == inputs()[0].shape


def test_bfloat16_is_near_float32():
    apply, variables = drawn("film", **MIDDLE)
    exact = apply(variables, *inputs())
    model = SMALL["film"](10, **MIDDLE, dtype=jnp.bfloat16)
    u = jax.jit(model.apply)(variables, *inputs())
    assert 1e-4 < jnp.linalg.norm(u - exact) / jnp.linalg.norm(exact) < 0.05


def test_an_augmentation_has_an_effect_and_none_is_zeros():
    apply, variables = drawn("song")
    plain = apply(variables, *inputs())
    told = jnp.zeros((3, 6)).at[0, 2].set(1.0)
    augmented = apply(variables, *inputs(), augment=told)
    assert jnp.abs(augmented - plain)[0].max() > 1e-3
    np.testing.assert_allclose(augmented[1:], plain[1:], atol=1e-5)


def test_dropout_follows_its_key():
    _, variables = drawn("film", **MIDDLE)
    dropping = SMALL["film"](10, **MIDDLE, dropout=0.5)

    @jax.jit
    def train(key):
        return dropping.apply(variables, *inputs(), train=True, rngs={"dropout": key})

    first, again, second = (train(jax.random.key(n)) for n in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert jnp.abs(first - second).max() > 1e-2
    plain = SMALL["film"](10, **MIDDLE)  # with nothing to drop, no random stream is needed
    jax.eval_shape(lambda v: plain.apply(v, *inputs(), train=True), variables)


def derivatives(model):
    """f(variables, z, t, h) -> (loss, (u, du/dt)), gradient; the loss has u and du/dt in it."""
    z, (t, h, label, *_) = inputs()
    tangents = tuple(jnp.ones_like(x) for x in (z, t, h))

    def loss(variables, *given):
        def u(z, t, h):
            return model.apply(variables, z, Condition(t, h, label), train=True)

        u, du_dt = jax.jvp(u, given, tangents)
        return jnp.mean(u**2) + jnp.mean(du_dt**2), (u, du_dt)

    return jax.value_and_grad(loss, has_aux=True)


@pytest.mark.slow
def test_derivatives_where_blocks_are_computed_again():
    apply, variables = drawn("film", **MIDDLE)
    compute = jax.jit(derivatives(SMALL["film"](10, **MIDDLE, remat=True)))
    z, (t, h, label, *_) = inputs()
    (_, (u, du_dt)), grads = compute(variables, z, t, h)
    np.testing.assert_allclose(u, apply(variables, *inputs()), rtol=1e-4, atol=1e-5)

    # Forward mode against a central difference, reverse over forward against one of the loss.
    ahead, behind = (apply(variables, z + e, Condition(t + e, h + e, label)) for e in (1e-3, -1e-3))
    np.testing.assert_allclose(du_dt, (ahead - behind) / 2e-3, rtol=2e-2, atol=2e-2)
    length = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads)))

    def moved(e):
        return jax.tree.map(lambda p, g: p + e * g / length, variables, grads)

    ahead, behind = (compute(moved(e), z, t, h)[0][0] for e in (1e-2, -1e-2))
    np.testing.assert_allclose((ahead - behind) / 2e-2, length, rtol=2e-2)


def test_the_smoothed_resampling_has_both_derivatives():
    _, variables = drawn("song")
    compute = derivatives(SMALL["song"](10, remat=True))
    z, (t, h, *_) = inputs()
    _, grads = jax.eval_shape(compute, variables, z, t, h)
    assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, variables)


def test_a_block_that_is_computed_again_is_not_kept():
    """The residuals of the backward pass: with `remat` no attention weights [B, H, T, T]."""

    def kept(remat):
        _, variables = drawn("film")
        model = SMALL["film"](10, remat=remat)

        def backward(variables):
            return jax.vjp(lambda v: model.apply(v, *inputs()), variables)[1]

        return [x.shape for x in jax.tree.leaves(jax.eval_shape(backward, variables))]

    # The small network attends to maps of 4 x 4.
    assert (3, 2, 16, 16) in kept(False) and (3, 2, 16, 16) not in kept(True)


@pytest.mark.parametrize(
    "model,message",
    [
        (SMALL["film"](10, channel_mult=(1,) * 5), "choose sizes that 16 divides"),
        (SMALL["film"](10, num_heads=3), "3 heads do not divide a width of 128"),
        (SMALL["film"](10, model_channels=36), "36 channels do not split into 32 equal groups"),
        (SMALL["song"](10, resample_filter=(1, 2, 1)), "even number of taps, not 3"),
        (SMALL["song"](10, model_channels=1), "2 features of a time"),
    ],
)
def test_impossible_networks_are_refused(model, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(model)


def test_wrong_inputs_are_refused():
    z, condition = inputs()
    with pytest.raises(ValueError, match="takes images"):
        shapes_of(SMALL["film"](10), z[0], condition)
    with pytest.raises(ValueError, match="augment_dim 0"):
        shapes_of(SMALL["song"](10, augment_dim=0), z, condition, False, jnp.zeros((3, 6)))

"""The generator that translates images: sizes, taps, options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.core.errors import ConfigError
from models import registry
from models.resnet_generator import Block, ResNetGenerator

SMALL = dict(channels=1, width=2, blocks=1)


def shapes_of(network, shape=(1, 8, 8, 1)):
    return jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(shape))["params"]


@pytest.mark.parametrize("resampling", ["antialias", "strided"])
def test_any_multiples_of_4_keep_their_size(resampling):
    network = ResNetGenerator(resampling=resampling, dtype=jnp.bfloat16, **SMALL)
    out, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.zeros((2, 8, 20, 1)))
    assert out.shape == (2, 8, 20, 1) and out.dtype == jnp.float32


@pytest.mark.parametrize("size,found", [((30, 32), "30 x 32"), ((8, 4), "8 x 4")])
def test_other_sizes_are_refused(size, found):
    message = f"config.model: .* multiples of 4 and at least 8 pixels, not {found}"
    with pytest.raises(ConfigError, match=message):
        registry.create("resnet_generator", {}, (*size, 3), 0)


@pytest.mark.parametrize(
    "values,message",
    [
        (dict(resampling="nearest"), "resampling 'nearest' is not one of antialias, strided"),
        (dict(initializer="he"), "initializer 'he' is not one of xavier, normal"),
        (dict(blocks=0), "blocks 0 is not at least 1"),
    ],
)
def test_what_is_unknown_is_refused(values, message):
    with pytest.raises(ConfigError, match=f"config.model: {message}"):
        registry.create("resnet_generator", values, (8, 8, 3), 0)


def test_features_compute_nothing_after_the_last_tap():
    network = ResNetGenerator(**SMALL)
    variables = {"params": shapes_of(network)}

    def convolutions(taps):
        def run(variables, images):
            return network.apply(variables, images, taps, method="features")

        images = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
        return str(jax.make_jaxpr(run)(variables, images)).count("conv_general_dilated[")

    assert [convolutions(t) for t in (("pad",), ("down_2", "pad"), ("block_1",))] == [0, 3, 5]
    with pytest.raises(ValueError, match="no tap block_5 among the layers pad, stem, .*, tanh"):
        convolutions(("block_5",))


def test_options_add_their_own_parameters_alone():
    plain = shapes_of(ResNetGenerator(**SMALL))
    expected = {
        "self_attention": [(), (1, 8), (3,), (8,), (8, 3)],
        "channel_attention": [(1,), (1, 8), (8,), (8, 1)],
        "style_gates": [(3, 8)],
    }
    for option, shapes in expected.items():
        found = shapes_of(ResNetGenerator(**SMALL, **{option: True}))
        place, name = (found["block_1"], "style_gate") if "gate" in option else (found, option)
        assert sorted(x.shape for x in jax.tree.leaves(place.pop(name))) == shapes
        assert found == plain


def test_attention_is_after_the_middle_block():
    network = ResNetGenerator(
        channels=1, width=2, blocks=4, self_attention=True, channel_attention=True
    )
    order = "block_2, self_attention, channel_attention, block_3, block_4, up_1"
    with pytest.raises(ValueError, match=order):
        jax.eval_shape(
            lambda images: network.init_with_output(
                jax.random.key(0), images, ("block_5",), method="features"
            ),
            jnp.zeros((1, 8, 8, 1)),
        )


def test_a_gate_multiplies_the_branch_of_a_block():
    x = jax.random.normal(jax.random.key(1), (1, 4, 4, 2))
    init = jax.nn.initializers.normal(1.0)
    plain, gated = (Block(option, init, jnp.float32) for option in (False, True))
    params = plain.init(jax.random.key(0), x)["params"]
    branch = plain.apply({"params": params}, x) - x
    weights = jnp.zeros((3, 2)).at[2].set(jnp.array([-100.0, 100.0]))  # gates 0 and 2
    out = gated.apply({"params": {**params, "style_gate": {"weights": weights}}}, x)
    gates = jnp.broadcast_to(jnp.array([0.0, 2.0]), x.shape)
    np.testing.assert_allclose(out - x, gates * branch, rtol=1e-4, atol=1e-5)

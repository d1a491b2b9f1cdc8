"""The U-Net with scale and shift against the numbers of kylevedder/DenoisingZoo."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights
from torch_weights import nchw, nhwc

from models import unet
from models.conditions import Condition
from models.layers.embeddings import PairEmbedding

BLOCK_LAYERS = {"modulation": "time_mlp.1"}  # the others have DenoisingZoo's names
EMBEDDING = {
    "times/in": "time_embed.0",
    "times/out": "time_embed.2",
    "t/in": "time_embed_t.0",
    "t/out": "time_embed_t.2",
    "h/in": "time_embed_duration.0",
    "h/out": "time_embed_duration.2",
    "join": "time_embed_proj",
}
HEADS = {
    "in_conv": "input_conv",
    "middle_block_0": "middle_block1",
    "middle_attention": "middle_attn",
    "middle_block_1": "middle_block2",
}


def naming(size: int, levels: int, attention_resolutions: tuple[int, ...]):
    """Path of our layer -> DenoisingZoo's name, whose lists hold attention between blocks."""

    def module(head: str) -> str:
        found = re.fullmatch(r"(down|up)_(\d+)_([a-z]+)_?(\d*)", head)
        if not found:
            return HEADS.get(head, head)
        side, level, kind, i = found.groups()
        place = int(level) if side == "down" else levels - 1 - int(level)
        if kind == "resample":  # on the way down DenoisingZoo counts the level before, we the next
            return f"{side}samplers.{place - (side == 'down')}.conv"
        attends = size >> int(level) in attention_resolutions
        return f"{side}_blocks.{place}.{(1 + attends) * int(i) + (kind == 'attention')}"

    def reference_name(path: str) -> str:
        head, _, layer = path.partition("/")
        if head == "embedding":
            return EMBEDDING[layer]
        return f"{module(head)}.{BLOCK_LAYERS.get(layer, layer)}" if layer else module(head)

    return reference_name


def numbers(array: np.ndarray) -> tuple[int, ...]:
    return tuple(int(n) for n in np.atleast_1d(array))


@pytest.fixture(scope="module")
def case(golden):
    g = golden("06c_unet_denoisingzoo.npz")
    model = unet.FilmUNet(
        num_classes=0,  # the reference's network reads no labels
        model_channels=int(g["cfg.base_channels"]),
        channel_mult=numbers(g["cfg.channel_mult"]),
        num_blocks=int(g["cfg.num_res_blocks"]),
        attention_resolutions=numbers(g["cfg.attention_resolutions"]),
        num_heads=int(g["cfg.num_heads"]),
        dropout=float(g["cfg.dropout"]),
        shared_time="w.time_embed_proj.weight" not in g,
    )
    r, t = jnp.asarray(g["in.r_t"]).T
    given = nhwc(g["in.x"]), t, t - r
    shapes = jax.eval_shape(model.init, jax.random.key(0), given[0], Condition(*given[1:]))
    names = naming(
        int(g["cfg.input_resolution"]), len(model.channel_mult), model.attention_resolutions
    )
    return g, model, torch_weights.filled(shapes, g, names), given


def test_the_embedding_of_the_times(case):
    g, model, variables, given = case
    embedding = PairEmbedding(
        model.model_channels,
        unet.EMBEDDING_MULT * model.model_channels,
        num_classes=0,
        shared=model.shared_time,
        kernel_init=model.style.kernel_init,
    )
    params = {"params": variables["params"]["embedding"]}
    ours = embedding.apply(params, *given[1:], label=None)
    np.testing.assert_allclose(ours, g["out.time_embedding"], rtol=1e-4, atol=5e-5)


def test_mean_velocity_and_its_derivative(case):
    g, model, variables, given = case
    ones = jnp.ones_like(given[1])  # dt/dt = 1 and dr/dt = 0, so dh/dt = 1

    @jax.jit
    def derivative(variables, z, t, h, tangent):
        def u(z, t, h):
            return model.apply(variables, z, Condition(t, h))

        return jax.jvp(u, (z, t, h), (tangent, ones, ones))

    u, du_dt = derivative(variables, *given, nhwc(g["in.tangent_x"]))
    np.testing.assert_allclose(nchw(u), g["out.u"], rtol=1e-4, atol=5e-5)
    np.testing.assert_allclose(nchw(du_dt), g["out.du_dt"], rtol=1e-4, atol=5e-5)

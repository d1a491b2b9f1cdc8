"""The U-Net of the MeanFlow release: forward pass and derivatives against its numbers."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights
from torch_weights import nchw, nhwc

from models import unet
from models.conditions import Condition
from models.layers.embeddings import sinusoidal

BLOCK_LAYERS = {
    "norm1": "norm0",
    "conv1": "conv0",
    "modulation": "affine",
    "norm2": "norm1",
    "conv2": "conv1",
    "skip": "skip",
}
ATTENTION_LAYERS = {"norm": "norm2", "qkv": "qkv", "proj": "proj"}
EMBEDDING = {"times/in": "map_layer0", "times/out": "map_layer1", "augment": "map_augment"}
SIDES = {"down": "enc", "up": "dec"}


def naming(size: int, levels: int, num_blocks: int):
    """Path of our layer -> the release's name, with attention in the block before it."""
    smallest = f"dec.{size >> (levels - 1)}x{size >> (levels - 1)}"
    whole = f"{size}x{size}"
    heads = {
        "in_conv": f"enc.{whole}_conv",
        "middle_block_0": f"{smallest}_in0",
        "middle_attention": f"{smallest}_in0",
        "middle_block_1": f"{smallest}_in1",
        "out_norm": f"dec.{whole}_aux_norm",
        "out_conv": f"dec.{whole}_aux_conv",
    }

    def module(head: str) -> str:
        if head in heads:
            return heads[head]
        side, level, kind, i = re.fullmatch(r"(down|up)_(\d+)_([a-z]+)_?(\d*)", head).groups()
        prefix = f"{SIDES[side]}.{size >> int(level)}x{size >> int(level)}"
        if kind == "resample":
            return f"{prefix}_{side}"
        return f"{prefix}_block{i or num_blocks}"  # on the way up attention is only at the end

    def reference_name(path: str) -> str:
        head, _, layer = path.partition("/")
        if head == "embedding":
            return EMBEDDING[layer]
        layers = ATTENTION_LAYERS if "attention" in head else BLOCK_LAYERS
        return f"{module(head)}.{layers[layer]}" if layer else module(head)

    return reference_name


def numbers(array: np.ndarray) -> tuple[int, ...]:
    return tuple(int(n) for n in np.atleast_1d(array))


def augmentation(g):
    """The augmentation labels [B, N], or None if the file has none."""
    found = [v for k, v in g.items() if k.startswith("in.") and "aug" in k]
    return jnp.asarray(found[0]) if found else None


@pytest.fixture(scope="module")
def case(golden):
    g = golden("06a_unet_pymeanflow.npz")
    augment = augmentation(g)
    model = unet.SongUNet(
        num_classes=0,  # the reference's network reads no labels
        model_channels=int(g["cfg.model_channels"]),
        channel_mult=numbers(g["cfg.channel_mult"]),
        num_blocks=int(g["cfg.num_blocks"]),
        attention_resolutions=numbers(g["cfg.attn_resolutions"]),
        dropout=float(g["cfg.dropout"]),
        noise_mult=int(g["cfg.channel_mult_noise"]),
        resample_filter=numbers(g["cfg.resample_filter"]),
        augment_dim=g["w.map_augment.weight"].shape[1] if "w.map_augment.weight" in g else 0,
    )
    assert bool(model.augment_dim) == (augment is not None)
    z, t, h = nhwc(g["in.x"]), jnp.asarray(g["in.t"]), jnp.asarray(g["in.h"])
    shapes = jax.eval_shape(model.init, jax.random.key(0), z, Condition(t, h))
    names = naming(int(g["cfg.img_resolution"]), len(model.channel_mult), model.num_blocks)
    variables = torch_weights.filled(shapes, g, names)
    return g, functools.partial(model.apply, augment=augment), variables, (z, t, h)


def test_features_of_a_time(golden):
    g = golden("06a_unet_pymeanflow.npz")
    theirs = g["out.pos_embedding_t_before_swap"]
    ours = sinusoidal(jnp.asarray(g["in.t"]), theirs.shape[1])
    swapped = np.roll(theirs, theirs.shape[1] // 2, axis=1)
    np.testing.assert_allclose(ours, swapped, rtol=1e-4, atol=5e-5)


def test_mean_velocity_and_its_derivatives(case):
    g, apply, variables, given = case
    ones = jnp.ones_like(given[1])  # dt/dt = 1 and dr/dt = 0, so dh/dt = 1

    @jax.jit
    def derivatives(variables, z, t, h, tangent, cotangent):
        def u(z, t, h):
            return apply(variables, z, Condition(t, h))

        forward = jax.jvp(u, (z, t, h), (tangent, ones, ones))
        return *forward, jax.vjp(lambda z: u(z, t, h), z)[1](cotangent)[0]

    ours = derivatives(variables, *given, nhwc(g["in.tangent_x"]), nhwc(g["in.cotangent"]))
    for value, name in zip(ours, ("out.u", "out.du_dt", "grad.x"), strict=True):
        np.testing.assert_allclose(nchw(value), g[name], rtol=1e-4, atol=5e-5, err_msg=name)

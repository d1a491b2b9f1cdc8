"""The networks of CUT against the numbers of its release."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights
from torch_weights import nchw, nhwc

from models.layers.resample import blur_double, blur_halve
from models.patch_heads import PatchHeads
from models.patchgan import PatchGAN
from models.resnet_generator import TAPS, ResNetGenerator

CLOSE = dict(rtol=1e-4, atol=5e-5)
FEATURES = ("feat0", "feat4", "feat8", "feat12", "feat16")
# The places of our layers in the release's lists of layers, which differ with the resampling.
GENERATORS = {
    "G": dict(stem=1, down_1=4, down_2=8, block_1=12, up_1=22, up_0=26, out=30),
    "Gna": dict(stem=1, down_1=4, down_2=7, block_1=10, up_1=12, up_0=15, out=19),
}
DISCRIMINATORS = {
    "D": dict(conv_0=0, conv_1=3, conv_2=7, conv_3=11, out_conv=14),
    "Dna": dict(conv_0=0, conv_1=2, conv_2=5, conv_3=8, out_conv=11),
}
TRANSPOSED = ("w.Gna.model.12.weight", "w.Gna.model.15.weight")


def naming(network: str, places: dict[str, int]):
    """Path of our layer -> the release's name."""

    def reference_name(path: str) -> str:
        head, _, layer = path.partition("/")
        if not layer:
            return f"{network}.model.{places[head]}"
        block, conv = (int(re.fullmatch(r"[a-z]+_(\d+)", part)[1]) for part in (head, layer))
        return f"{network}.model.{places['block_1'] + block - 1}.conv_block.{4 * conv - 3}"

    return reference_name


@pytest.fixture(scope="module")
def numbers(golden):
    found = golden("07_cut_networks.npz")
    # Kernels of transposed convolutions have their inputs first.
    return found | {name: found[name].swapaxes(0, 1) for name in TRANSPOSED}


def with_weights(numbers, network, name, places):
    """The variables of a network for the golden images."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    weights = {k: v for k, v in numbers.items() if k.startswith(f"w.{name}.")}
    return torch_weights.filled(shapes, weights, naming(name, places))


def test_the_generator_its_taps_and_the_gradient_to_the_image(numbers):
    network = ResNetGenerator(channels=3, width=4)
    variables = with_weights(numbers, network, "G", GENERATORS["G"])

    @jax.jit
    def translate(images, cotangent):
        def run(x):
            return network.apply(variables, x, method="with_features")

        out, pull_back, maps = jax.vjp(run, images, has_aux=True)
        return out, pull_back(cotangent)[0], maps

    images = nhwc(numbers["in.image"])
    out, gradient, maps = translate(images, nhwc(numbers["in.cotangent"]))
    np.testing.assert_allclose(nchw(out), numbers["out.G.image"], **CLOSE)
    np.testing.assert_allclose(nchw(gradient), numbers["grad.G.image"], rtol=1e-3, atol=5e-5)
    for found, name in zip(maps, FEATURES, strict=True):
        np.testing.assert_allclose(nchw(found), numbers[f"out.G.{name}"], **CLOSE)
    alone = network.apply(variables, images, TAPS[::-1], method="features")
    for found, expected in zip(alone[::-1], maps, strict=True):
        np.testing.assert_allclose(found, expected, **CLOSE)


def test_the_generator_with_strided_and_transposed_convolutions(numbers):
    network = ResNetGenerator(channels=3, width=4, blocks=2, resampling="strided")
    variables = with_weights(numbers, network, "Gna", GENERATORS["Gna"])
    out = jax.jit(network.apply)(variables, nhwc(numbers["in.image"]))
    np.testing.assert_allclose(nchw(out), numbers["out.Gna.image"], **CLOSE)


def test_the_antialiased_discriminator_and_the_gradient_to_the_image(numbers):
    network = PatchGAN(width=4, resampling="antialias")
    variables = with_weights(numbers, network, "D", DISCRIMINATORS["D"])

    @jax.jit
    def judge(images, cotangent):
        (logits,), pull_back = jax.vjp(lambda x: network.apply(variables, x), images)
        return logits, pull_back((cotangent,))[0]

    found, gradient = judge(nhwc(numbers["in.image"]), numbers["in.D.cotangent"][:, 0])
    np.testing.assert_allclose(found, numbers["out.D.map"][:, 0], **CLOSE)
    np.testing.assert_allclose(nchw(gradient), numbers["grad.D.image"], rtol=1e-3, atol=5e-5)


def test_the_strided_discriminator(numbers):
    network = PatchGAN(width=4)
    variables = with_weights(numbers, network, "Dna", DISCRIMINATORS["Dna"])
    (found,) = jax.jit(network.apply)(variables, nhwc(numbers["in.image"]))
    np.testing.assert_allclose(found, numbers["out.Dna.map"][:, 0], **CLOSE)


def test_blurs_of_an_odd_size(numbers):
    x = nhwc(numbers["in.resample.x"])
    np.testing.assert_allclose(nchw(blur_halve(x)), numbers["out.resample.down"], **CLOSE)
    np.testing.assert_allclose(nchw(blur_double(x)), numbers["out.resample.up"], **CLOSE)


def test_the_filters_of_the_blurs(numbers):
    x = jnp.zeros((1, 8, 8, 1))
    down = jax.grad(lambda x: blur_halve(x)[0, 2, 2, 0])(x)[0, 3:6, 3:6, 0]
    np.testing.assert_allclose(down, numbers["out.get_filter3"], atol=1e-7)
    up = blur_double(x.at[0, 3, 3, 0].set(1.0))[0, 5:9, 5:9, 0]
    np.testing.assert_allclose(up, 4.0 * numbers["out.get_filter4"], atol=1e-7)


def test_the_heads_of_patches(golden):
    """The reference's samples are normalised, with 1e-7 added to the length."""
    g = golden("07b_patchnce.npz")
    features = tuple(
        jnp.asarray(g[f"in.feat_q{i}"]).reshape(2, g[f"in.feat_q{i}"].shape[1], -1)
        .transpose(0, 2, 1)[:, g[f"in.patch_ids{i}"]]
        for i in range(3)
    )  # fmt: skip
    heads = PatchHeads(width=8)
    shapes = jax.eval_shape(heads.init, jax.random.key(0), features)

    def reference_name(path: str) -> str:
        i, layer = re.fullmatch(r"map_(\d)_(in|out)", path).groups()
        return f"F.mlp_{i}.{0 if layer == 'in' else 2}"

    found = heads.apply(torch_weights.filled(shapes, g, reference_name), features)
    for i, x in enumerate(found):
        x = x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-7)
        np.testing.assert_allclose(
            x.reshape(-1, 8), g[f"out.mlp.sample_q{i}"], rtol=1e-4, atol=1e-5
        )

"""The FID Inception network and its three resizes, with weights drawn by a fixed rule."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.evaluation import resize
from drifting.pretrained import inception as weights
from models.inception import InceptionV3

# The side of the network's input. Like the widths, and the strides 7 and 5 below, it is in no
# array.
SIDE = 299


def made(key, shape, salt):
    """The weights of the reference numbers: normal numbers seeded by the name of the array."""
    z = np.random.RandomState(zlib.crc32(salt + key.encode()) & 0x7FFFFFFF).standard_normal(shape)
    if key.endswith("conv.weight"):
        centred = z - z.mean(axis=(1, 2, 3), keepdims=True)
        return centred * np.sqrt(3.0 / np.prod(shape[1:]))
    if key.endswith("bn.weight"):
        return 1.0 + 0.1 * z
    if key.endswith("running_var"):
        return 1.0 + 0.1 * np.abs(z)
    if key == "fc.weight":
        return z * np.sqrt(1.0 / 2048.0)
    return 0.1 * z


@pytest.fixture(scope="module")
def numbers(golden):
    return golden("09_inception.npz")


@pytest.fixture(scope="module")
def state(numbers):
    salt = bytes(numbers["cfg.salt"]).strip(b"\0")
    shapes = weights.state_shapes()
    return {k: np.asarray(made(k, s, salt), np.float32) for k, s in shapes.items()}


@pytest.fixture(scope="module")
def network(state):
    params = jax.device_put(weights.to_params(state))
    apply = jax.jit(InceptionV3().apply)
    return lambda x: apply({"params": params}, x)


def test_arrays_are_those_of_the_port(numbers, state):
    names = bytes(numbers["check.key_names"]).decode().split("\n")
    assert sorted(state) == sorted(names)
    assert len(names) == numbers["check.num_keys"]
    for name, shape in zip(names, numbers["check.key_shapes"], strict=True):
        assert state[name].shape == tuple(n for n in shape if n), name
    for name in (n.removeprefix("check.first8.") for n in numbers if "first8" in n):
        np.testing.assert_allclose(state[name].ravel()[:8], numbers[f"check.first8.{name}"])


CASES = {
    # tag: images, resize mode, range of the network's input
    "big_pytorch_fid": ("big", "legacy_pytorch"),
    "big_tf_norm_no_resize": ("big", "legacy_tensorflow"),
    "small_pytorch_fid": ("small", "legacy_pytorch"),
    "small_tf1_resize_tf_norm": ("small", "legacy_tensorflow"),
}


@pytest.mark.parametrize("tag", CASES)
def test_features_and_logits(numbers, network, tag):
    images, mode = CASES[tag]
    given = jnp.asarray(numbers[f"in.{images}_uint8"])
    x = resize.resize(given, mode, given.shape[1] if tag.endswith("no_resize") else SIDE)
    found = network(resize.to_network_range(x, mode))
    expected = {
        "pool": "pool2048", "logits": "logits1008_no_bias", "block0": "block0_spatial_mean",
        "block1": "block1_spatial_mean", "block2": "block2_spatial_mean",
    }  # fmt: skip
    for ours, theirs in expected.items():
        np.testing.assert_allclose(found[ours], numbers[f"out.{tag}.{theirs}"], atol=5e-4)
    with_bias = found["logits"] + found["bias"][None]
    np.testing.assert_allclose(with_bias, numbers[f"out.{tag}.logits1008"], atol=5e-4)


@pytest.mark.parametrize(
    "mode,name", [("legacy_tensorflow", "tf1_0_255"), ("legacy_pytorch", "half_pixel_0_255")]
)
def test_resized_images(numbers, mode, name):
    image = jnp.asarray(numbers["in.small_uint8"][:1])
    resized = np.moveaxis(np.asarray(resize.resize(image, mode, SIDE))[0], -1, 0)
    expected = numbers[f"out.resize_small0.{name}"]
    np.testing.assert_allclose(resized[:, ::7, ::5], expected, atol=2e-3)

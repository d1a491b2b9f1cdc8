"""Weights of models/inception.py: from the PyTorch port, TensorFlow's graph, or safetensors.

A state is a flat dict of arrays by the port's names: `<layer>.conv.weight` [O, I, H, W],
`<layer>.bn.weight`, `.bias`, `.running_mean`, `.running_var` [O], `fc.weight` [1008, 2048] and
`fc.bias` [1008].
"""

import functools
import hashlib
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from drifting.core.files import cache_dir
from drifting.pretrained import files, tensorflow_graph
from drifting.pretrained.files import WeightsError
from models import inception

FILE_NAME = "inception-2015-12-05.safetensors"
# The port as published with pytorch-fid, github.com/mseitzer/pytorch-fid/releases.
URL = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth"
)
URL_SHA256_PREFIX = "6726825d"  # torch.hub's convention: the file name ends in the hash's prefix

_BATCH_NORM = {"weight": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def default_path() -> pathlib.Path:
    """Where scripts/fetch_inception.py puts the weights and evaluation looks for them."""
    return cache_dir() / "weights" / FILE_NAME


@functools.cache
def _parameters() -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Each parameter's path and shape in the model, by the port's name."""
    images = jnp.zeros((1, inception.IMAGE_SIZE, inception.IMAGE_SIZE, 3))
    shapes = jax.eval_shape(inception.InceptionV3().init, jax.random.key(0), images)["params"]
    found = {}
    for path, leaf in traverse_util.flatten_dict(shapes).items():
        *layer, name = path
        if not layer:
            key = {"kernel": "fc.weight", "bias": "fc.bias"}[name]
        elif name == "kernel":
            key = ".".join((*layer, "conv.weight"))
        else:
            key = ".".join((*layer, "bn", _BATCH_NORM[name]))
        found[key] = (path, leaf.shape)
    return found


def _port_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a parameter in the port: convolutions [O, I, H, W], matrices [out, in]."""
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape[::-1]


def state_shapes() -> dict[str, tuple[int, ...]]:
    """The shape of each array of a state, by name."""
    return {key: _port_shape(shape) for key, (_, shape) in sorted(_parameters().items())}


def to_params(state: dict[str, np.ndarray]) -> dict[str, Any]:
    """The model's parameters, float32, from a state.

    Raises:
      WeightsError: arrays are missing or have another shape; the message names the first.
    """
    expected = state_shapes()
    missing = [key for key in expected if key not in state]
    if missing:
        raise WeightsError(
            f"these are not the FID Inception's weights: {len(missing)} of {len(expected)} arrays "
            f"are missing, {', '.join(missing[:3])} among them"
        )
    params = {}
    for key, (path, _) in _parameters().items():
        array = np.asarray(state[key], np.float32)
        if array.shape != expected[key]:
            raise WeightsError(
                f"{key} has shape {array.shape}, the FID Inception's is {expected[key]}"
            )
        params[path] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    return traverse_util.unflatten_dict(params)


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a state from .pth (the PyTorch port), .pb (TensorFlow's graph) or .safetensors.

    Raises:
      WeightsError: the file is missing or cannot be read, or it has other weights.
    """
    readers = {
        ".pth": files.read_torch,
        ".pb": _read_graph,
        ".safetensors": files.read_safetensors,
    }
    state = files.read(path, readers, HOW)
    to_params(state)
    return {key: np.asarray(state[key], np.float32) for key in state_shapes()}


HOW = (
    "get them with `python scripts/fetch_inception.py`, or convert a file with its --from FILE; "
    "`--features pixels` can be scored without them"
)


def digest(params: Any) -> str:
    """SHA-256 of all parameters in the order of their names; the same for every file format."""
    total = hashlib.sha256()
    for path, leaf in sorted(traverse_util.flatten_dict(params).items()):
        total.update("/".join(path).encode())
        total.update(np.ascontiguousarray(leaf, np.float32).tobytes())
    return total.hexdigest()


# --- TensorFlow's graph --------------------------------------------------------------------------


def _graph_scopes() -> Iterable[tuple[str, str]]:
    """Yields (name in the port, scope in the graph) of every convolution."""
    stem = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
    for i, name in enumerate(stem):
        yield name, _numbered("conv", i)
    block_a = {
        "branch1x1": "conv",
        "branch5x5_1": "tower/conv",
        "branch5x5_2": "tower/conv_1",
        "branch3x3dbl_1": "tower_1/conv",
        "branch3x3dbl_2": "tower_1/conv_1",
        "branch3x3dbl_3": "tower_1/conv_2",
        "branch_pool": "tower_2/conv",
    }
    block_b = {
        "branch3x3": "conv",
        **{f"branch3x3dbl_{i + 1}": f"tower/{_numbered('conv', i)}" for i in range(3)},
    }
    block_c = {
        "branch1x1": "conv",
        **{f"branch7x7_{i + 1}": f"tower/{_numbered('conv', i)}" for i in range(3)},
        **{f"branch7x7dbl_{i + 1}": f"tower_1/{_numbered('conv', i)}" for i in range(5)},
        "branch_pool": "tower_2/conv",
    }
    block_d = {
        **{f"branch3x3_{i + 1}": f"tower/{_numbered('conv', i)}" for i in range(2)},
        **{f"branch7x7x3_{i + 1}": f"tower_1/{_numbered('conv', i)}" for i in range(4)},
    }
    block_e = {
        "branch1x1": "conv",
        "branch3x3_1": "tower/conv",
        "branch3x3_2a": "tower/mixed/conv",
        "branch3x3_2b": "tower/mixed/conv_1",
        "branch3x3dbl_1": "tower_1/conv",
        "branch3x3dbl_2": "tower_1/conv_1",
        "branch3x3dbl_3a": "tower_1/mixed/conv",
        "branch3x3dbl_3b": "tower_1/mixed/conv_1",
        "branch_pool": "tower_2/conv",
    }
    blocks = (
        [("5" + letter, block_a) for letter in "bcd"]
        + [("6a", block_b)]
        + [("6" + letter, block_c) for letter in "bcde"]
        + [("7a", block_d)]
        + [("7" + letter, block_e) for letter in "bc"]
    )
    for i, (block, layers) in enumerate(blocks):
        for layer, scope in layers.items():
            yield f"Mixed_{block}.{layer}", f"{_numbered('mixed', i)}/{scope}"


def _numbered(name: str, i: int) -> str:
    """The i-th of equal names as TensorFlow makes them unique: conv, conv_1, conv_2."""
    return f"{name}_{i}" if i else name


def _read_graph(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The state of the frozen graph `classify_image_graph_def.pb` of 2015-12-05."""
    constants = tensorflow_graph.constants(path.read_bytes())
    parts = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
             "running_var": "moving_variance"}  # fmt: skip
    state = {
        "fc.weight": constants["softmax/weights"].T,
        "fc.bias": constants["softmax/biases"],
    }
    for layer, scope in _graph_scopes():
        kernel = constants[f"{scope}/conv2d_params"]  # [H, W, I, O]
        state[f"{layer}.conv.weight"] = kernel.transpose(3, 2, 0, 1)
        for ours, theirs in parts.items():
            state[f"{layer}.bn.{ours}"] = constants[f"{scope}/batchnorm/{theirs}"]
    return state

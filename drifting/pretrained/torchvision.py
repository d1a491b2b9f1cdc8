"""Weights of torchvision's classifiers for the networks of models/classifiers.py.

A state is torchvision's state dict as NumPy arrays: convolutions [O, I, H, W], matrices [out, in].
A network with a stem for small images has the same names.
"""

import functools
import os
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from drifting.core.errors import did_you_mean
from drifting.pretrained import files
from drifting.pretrained.files import WeightsError
from models import classifiers, mobilenet_v2, registry

# Image sizes whose stems have kernels of different shapes: ImageNet's and small images'.
_IMAGE_SIZES = (224, 32)
_PLACE = {"conv": 0, "norm": 1}  # index of a convolution and its norm in a Sequential
_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def _block_of(module: str) -> tuple[int, int]:
    """(i, j) of the module `stage<i>_block<j>`, counted from 1."""
    stage, block = re.fullmatch(r"stage(\d+)_block(\d+)", module).groups()
    return int(stage), int(block)


def _resnet_layer(module: str, *rest: str) -> str:
    """torchvision's name of a layer of ResNet."""
    if module == "classifier":
        return "fc"
    if module == "stem":
        return {"conv": "conv1", "norm": "bn1"}[rest[0]]
    stage, block = _block_of(module)
    layer, part = rest
    if layer == "shortcut":
        inner = f"downsample.{_PLACE[part]}"
    else:
        inner = layer if part == "conv" else layer.replace("conv", "bn")
    return f"layer{stage}.{block - 1}.{inner}"


def _mobilenet_layer(module: str, *rest: str) -> str:
    """torchvision's name of a layer of MobileNetV2, which numbers blocks across all stages."""
    counts = [blocks for _, _, blocks, _ in mobilenet_v2.STAGES]
    if module == "classifier":
        return "classifier.1"
    if module in ("stem", "head"):
        index = 0 if module == "stem" else 1 + sum(counts)
        return f"features.{index}.{_PLACE[rest[0]]}"
    stage, block = _block_of(module)
    layer, part = rest
    # The first stage does not expand, so its layers have an index one lower.
    place = ("expand", "depthwise", "project").index(layer) - (stage == 1)
    # The projection and its norm do not have a Sequential of their own.
    inner = place + _PLACE[part] if layer == "project" else f"{place}.{_PLACE[part]}"
    return f"features.{sum(counts[: stage - 1]) + block}.conv.{inner}"


def _convnext_layer(module: str, *rest: str) -> str:
    """torchvision's name of a layer of ConvNeXt, where stages and downsampling alternate."""
    fixed = {
        "stem_conv": "features.0.0",
        "stem_norm": "features.0.1",
        "norm": "classifier.0",
        "classifier": "classifier.2",
    }
    if module in fixed:
        return fixed[module]
    if found := re.fullmatch(r"downsample(\d+)_(norm|conv)", module):
        return f"features.{2 * int(found[1]) - 2}.{('norm', 'conv').index(found[2])}"
    stage, block = _block_of(module)
    inner = {"depthwise": ".block.0", "norm": ".block.2", "expand": ".block.3",
             "project": ".block.5"}  # fmt: skip
    return f"features.{2 * stage - 1}.{block - 1}" + (inner[rest[0]] if rest else "")


def _layer_names(name: str) -> Callable[..., str]:
    if name in classifiers.RESNETS:
        return _resnet_layer
    return {"mobilenetv2": _mobilenet_layer, "convnext_tiny": _convnext_layer}[name]


@functools.cache
def _variables(name: str, num_classes: int, image_size: int) -> Any:
    """The shapes of the variables of a network at width 1."""
    network = classifiers.create(name, num_classes, image_size)
    images = jnp.zeros((1, image_size, image_size, 3))
    init = functools.partial(network.init, train=False)
    return jax.eval_shape(init, jax.random.key(0), images)


def _leaves(name: str, variables: Any) -> dict[str, tuple[tuple, tuple]]:
    """Each array's path and shape in the variables, by torchvision's name."""
    layer_of = _layer_names(name)
    found = {}
    for path, leaf in traverse_util.flatten_dict(variables).items():
        _, *modules, last = path
        found[f"{layer_of(*modules)}.{_LEAVES.get(last, last)}"] = (path, leaf.shape)
    return found


def _state_shape(path: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an array in torchvision."""
    if path[-1] == "layer_scale":
        return (*shape, 1, 1)
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape[::-1]


def state_shapes(name: str, num_classes: int, image_size: int) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a state of the classifier `name`, by name.

    Raises:
      ValueError: the classifier is unknown.
    """
    return _state_shapes(name, _variables(name, num_classes, image_size))


def _state_shapes(name: str, variables: Any) -> dict[str, tuple[int, ...]]:
    leaves = _leaves(name, variables)
    return {key: _state_shape(path, shape) for key, (path, shape) in leaves.items()}


def _to_ours(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array, np.float32)
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.ravel() if array.ndim == 3 else array.T  # a layer scale is [C, 1, 1]


def to_variables(name: str, state: dict[str, np.ndarray]) -> dict[str, Any]:
    """`{"params": ..., "batch_stats": ...}`, float32, of the classifier `name` at width 1.

    Raises:
      ValueError: the classifier is unknown.
      WeightsError: arrays are missing, unexpected or have another shape; the message names the
        first.
    """
    return to_variables_like(name, state, _variables(name, *sizes(name, state)))


def to_variables_like(name: str, state: dict[str, np.ndarray], variables: Any) -> dict[str, Any]:
    """As `to_variables`, for a network of any width, with variables of the shapes of `variables`.

    Raises:
      WeightsError: as `to_variables`.
    """
    # PyTorch's count of training batches is not used, as the momentum is fixed.
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    _check(name, state, _state_shapes(name, variables))
    flat = {path: _to_ours(state[key]) for key, (path, _) in _leaves(name, variables).items()}
    return {"batch_stats": {}} | traverse_util.unflatten_dict(flat)


def sizes(name: str, state: dict[str, np.ndarray]) -> tuple[int, int]:
    """The number of classes, and an image size with the state's stem, inferred from its shapes.

    Raises:
      ValueError: the classifier is unknown.
    """
    known = registry.names("classifier")
    if name not in known:
        raise ValueError(f"unknown classifier {name!r}{did_you_mean(name, known)}")
    last = f"{_layer_names(name)('classifier')}.bias"
    (num_classes,) = np.shape(state.get(last)) or (1000,)
    size = max(_IMAGE_SIZES, key=lambda size: _agreement(name, num_classes, size, state))
    return num_classes, size


def _agreement(name: str, num_classes: int, image_size: int, state: dict[str, np.ndarray]) -> int:
    """How many arrays of the state have the shape expected for images of this size."""
    expected = state_shapes(name, num_classes, image_size)
    return sum(np.shape(state.get(key)) == shape for key, shape in expected.items())


def _check(name: str, state: dict[str, np.ndarray], expected: dict[str, tuple[int, ...]]) -> None:
    missing = [key for key in expected if key not in state]
    surplus = [key for key in state if key not in expected]
    for keys, what in ((missing, "missing"), (surplus, "unexpected")):
        if keys:
            raise WeightsError(
                f"these are not torchvision's weights of {name}: {len(keys)} arrays are {what}, "
                f"{', '.join(keys[:3])} among them"
            )
    for key, shape in expected.items():
        if np.shape(state[key]) != shape:
            raise WeightsError(f"{key} has shape {np.shape(state[key])}, {name}'s is {shape}")


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a state from a file: .pth (PyTorch's state dict) or .safetensors.

    Raises:
      WeightsError: the file is missing or cannot be read.
    """
    readers = {".pth": files.read_torch, ".safetensors": files.read_safetensors}
    return files.read(path, readers, "save torchvision's state dict there with torch.save")

"""Published weights of KL autoencoders for models/autoencoder_kl.py, and back.

A state is a PyTorch state dict as NumPy arrays, by the names of one of two formats:

- 'mltools': cfpark00/MLtools' AutoencoderKL (mltools/models/vae_model.py);
- 'diffusers': that of Hugging Face's diffusers, for Stable Diffusion's autoencoder.

Converting a state of float32 arrays to parameters and back gives the same bits.
"""

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from drifting.pretrained import files
from drifting.pretrained.files import WeightsError
from models.autoencoder_kl import AutoencoderKL

# What a network must have to fit a format: with other options it is another computation.
_REQUIRED = {
    "mltools": dict(
        downsampling="conv2x2", upsampling="transposed", extra_decoder_blocks=0, logvar=True,
        unused_resampling=True,
    ),
    "diffusers": dict(
        downsampling="conv3x3", upsampling="nearest", extra_decoder_blocks=1, kernel=3,
        activation="silu", num_heads=1, logvar=False, mltools_attention=False,
        unused_resampling=False,
    ),
}  # fmt: skip

_MLTOOLS_BLOCK = {"norm1": "net1.0", "conv1": "net1.2", "norm2": "net2.0", "conv2": "net2.2",
                  "skip": "skip_conv"}  # fmt: skip
_MLTOOLS_ATTENTION = {"norm": "norm", "q": "q", "k": "k", "v": "v", "proj": "proj_out"}
_MLTOOLS_MIDDLE = {"block_0": "mid1", "attention": "mid_attn1", "block_1": "mid2"}

_DIFFUSERS_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v",
                        "proj": "to_out.0"}  # fmt: skip
_DIFFUSERS_HEADS = {"in_conv": "conv_in", "out_norm": "conv_norm_out", "out_conv": "conv_out"}
# As files saved before diffusers 0.15 name the layers of an attention.
_OLDER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class Leaf(NamedTuple):
    """One array of a network: its path and shape in the parameters, and its shape in a state."""

    path: tuple[str, ...]
    shape: tuple[int, ...]
    state_shape: tuple[int, ...]


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a state from a file: .pth or .pt (PyTorch's state dict) or .safetensors.

    Raises:
      WeightsError: the file is missing or cannot be read.
    """
    readers = {".pth": files.read_torch, ".pt": files.read_torch,
               ".safetensors": files.read_safetensors}  # fmt: skip
    return files.read(path, readers, "save the autoencoder's state dict there")


def state_shapes(form: str, network: AutoencoderKL) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a state of the network, by name.

    Raises:
      ValueError: the format is unknown.
      WeightsError: the options of the network do not fit the format.
    """
    return {key: leaf.state_shape for key, leaf in _leaves(form, network).items()}


def to_params(form: str, network: AutoencoderKL, state: Mapping[str, np.ndarray]) -> dict:
    """The parameters of a network, float32, from a state in the format `form`.

    Raises:
      ValueError: the format is unknown.
      WeightsError: the options of the network do not fit the format, or arrays are missing,
        unexpected or of another shape; the message names the first.
    """
    leaves = _leaves(form, network)
    if form == "diffusers":
        state = {_newer(key): value for key, value in state.items()}
    _check(form, state, leaves)
    flat = {leaf.path: _to_ours(state[key], leaf) for key, leaf in leaves.items()}
    return traverse_util.unflatten_dict(flat)


def to_state(form: str, network: AutoencoderKL, params: Mapping[str, Any]) -> dict:
    """The inverse of `to_params`: float32 arrays by the names of the format `form`.

    Raises:
      ValueError: the format is unknown.
      WeightsError: the options of the network do not fit the format.
    """
    flat = traverse_util.flatten_dict(params)
    leaves = _leaves(form, network)
    return {key: _to_theirs(flat[leaf.path], leaf) for key, leaf in leaves.items()}


# --- names ---------------------------------------------------------------------------------------


def _mltools(levels: int, side: str, head: str, layer: str) -> str:
    """MLtools' name of the layer `layer` of the module `head` of the encoder or the decoder."""
    if found := re.fullmatch(r"middle_(\w+)", head):
        layers = _MLTOOLS_ATTENTION if found[1] == "attention" else _MLTOOLS_BLOCK
        return f"{side}.{_MLTOOLS_MIDDLE[found[1]]}.{layers[layer]}"
    if not (found := re.fullmatch(r"level_(\d+)_(\w+?)(?:_(\d+))?", head)):
        return f"{side}.{'_'.join(reversed(head.split('_')))}"  # in_conv is conv_in
    level, kind, i = found.groups()
    place = f"downs.{level}" if side == "encoder" else f"ups.{levels - 1 - int(level)}"
    if i is None:
        return f"{side}.{place}.{kind}"
    blocks, layers = {
        "block": ("resnet_blocks", _MLTOOLS_BLOCK),
        "attention": ("attention_blocks", _MLTOOLS_ATTENTION),
    }[kind]
    return f"{side}.{place}.{blocks}.{i}.{layers[layer]}"


def _diffusers(levels: int, side: str, head: str, layer: str) -> str:
    """diffusers' name of the layer `layer` of the module `head` of the encoder or the decoder."""
    if head in _DIFFUSERS_HEADS:
        return f"{side}.{_DIFFUSERS_HEADS[head]}"
    level, kind, i = re.fullmatch(r"(?:level_(\d+)|middle)_(\w+?)(?:_(\d+))?", head).groups()
    if level is None:
        place = "mid_block"
    elif side == "encoder":
        place = f"down_blocks.{level}"
    else:
        place = f"up_blocks.{levels - 1 - int(level)}"
    if kind in ("down", "up"):
        return f"{side}.{place}.{kind}samplers.0.conv"
    if kind == "attention":
        return f"{side}.{place}.attentions.{i or 0}.{_DIFFUSERS_ATTENTION[layer]}"
    return f"{side}.{place}.resnets.{i}.{'conv_shortcut' if layer == 'skip' else layer}"


_NAMES = {"mltools": _mltools, "diffusers": _diffusers}
FORMS = tuple(_NAMES)


def _newer(key: str) -> str:
    """The present name of an array that an older version of diffusers named."""
    parts = key.split(".")
    if len(parts) > 1 and "attentions" in parts:
        parts[-2] = _OLDER.get(parts[-2], parts[-2])
    return ".".join(parts)


def _leaves(form: str, network: AutoencoderKL) -> dict[str, Leaf]:
    """Every array of the network, by its name in the format `form`."""
    _require(form, network)
    side = network.image_size
    images = jax.ShapeDtypeStruct((1, side, side, network.channels), jnp.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)["params"]
    found = {}
    for path, leaf in traverse_util.flatten_dict(shapes).items():
        if path == ("logvar",):
            found["logvar"] = Leaf(path, (), ())
            continue
        *layer, last = (part for part in path if part != "dense")
        name = _layer_name(form, len(network.widths), *layer)
        shape = _state_shape(form, name, leaf.shape)
        found[f"{name}.{'bias' if last == 'bias' else 'weight'}"] = Leaf(path, leaf.shape, shape)
    return found


def _layer_name(form: str, levels: int, side: str, head: str = "", layer: str = "") -> str:
    return _NAMES[form](levels, side, head, layer) if head else f"{side}_conv"


# --- arrays --------------------------------------------------------------------------------------


def _state_shape(form: str, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an array in a state: kernels [O, I, H, W] (transposed ones [I, O, H, W])."""
    if len(shape) == 4:
        return (shape[3], shape[2], shape[0], shape[1])
    if len(shape) == 2:  # our dense layers are 1x1 convolutions, but in diffusers' attentions
        return (
            shape[::-1] if form == "diffusers" and ".attentions." in name else (*shape[::-1], 1, 1)
        )
    return shape


def _to_ours(array: np.ndarray, leaf: Leaf) -> np.ndarray:
    array = np.asarray(array, np.float32)
    array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    return array.reshape(leaf.shape)


def _to_theirs(array: np.ndarray, leaf: Leaf) -> np.ndarray:
    array = np.asarray(array, np.float32)
    array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    # np.ascontiguousarray would give a scalar an axis.
    return np.asarray(array.reshape(leaf.state_shape), order="C")


# --- checks --------------------------------------------------------------------------------------


def _require(form: str, network: AutoencoderKL) -> None:
    if form not in FORMS:
        raise ValueError(f"unknown format {form!r}; use one of {', '.join(FORMS)}")
    wrong = {k: v for k, v in _REQUIRED[form].items() if getattr(network, k) != v}
    if wrong:
        needed = ", ".join(f"config.model.{key} = {value!r}" for key, value in wrong.items())
        raise WeightsError(f"weights of {form} need {needed}")


def _check(form: str, state: Mapping[str, np.ndarray], leaves: Mapping[str, Leaf]) -> None:
    missing = [key for key in leaves if key not in state]
    surplus = [key for key in state if key not in leaves]
    for keys, what in ((missing, "missing"), (surplus, "unexpected")):
        if keys:
            raise WeightsError(
                f"these are not weights of this autoencoder as {form} saves them: {len(keys)} "
                f"arrays are {what}, {', '.join(keys[:3])} among them; compare its config.model"
            )
    for key, leaf in leaves.items():
        if np.shape(state[key]) != leaf.state_shape:
            raise WeightsError(
                f"{key} has shape {np.shape(state[key])}, this autoencoder's is "
                f"{leaf.state_shape}; compare its config.model"
            )

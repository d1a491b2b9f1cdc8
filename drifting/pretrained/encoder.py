"""Encoders from weight files of other libraries: torchvision's classifiers."""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from drifting.core.errors import ConfigError, one_of
from drifting.core.networks import Encoder
from drifting.pretrained import torchvision
from models import registry
from models.activations import Activations

PREFIX = "torch:"
# Statistics of ImageNet's pixels in [0, 1], with which torchvision's weights expect images.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def from_torchvision(name: str, image_shape: tuple[int, ...], precision: str) -> Encoder:
    """The encoder `torch:<network>:<file>` with torchvision's ImageNet weights.

    Args:
      name: `torch:<network>:<file>`, where the file is .pth or .safetensors.
      image_shape: [H, W, C] of the images to encode.
      precision: of the computation, `float32` or `bfloat16`.

    Raises:
      ConfigError: the network is unknown, or the images do not have 3 channels.
      WeightsError: the file is missing or belongs to another network.
    """
    _, network_name, file = name.split(":", 2) if name.count(":") >= 2 else (None, "", "")
    known = registry.names("classifier")
    one_of("method.encoder (torch:<network>:<file>)", network_name, known)
    if len(image_shape) != 3 or image_shape[2] != 3:
        raise ConfigError(f"{name} encodes images of 3 channels, not of shape {tuple(image_shape)}")
    state = torchvision.read(file)
    variables = torchvision.to_variables(network_name, state)
    num_classes, size = torchvision.sizes(network_name, state)
    dtype = jnp.dtype(precision)
    network = registry.create(network_name, {}, (size, size, 3), num_classes, dtype)
    mean, std = 2.0 * np.asarray(IMAGENET_MEAN) - 1.0, 2.0 * np.asarray(IMAGENET_STD)

    def encode(parameters: Any, images: jax.Array) -> Activations:
        shape = (1, 1, 1, 3)
        x = (images - jnp.float32(mean).reshape(shape)) / jnp.float32(std).reshape(shape)
        return network.apply(parameters, x, train=False)

    parameters = jax.tree.map(jnp.asarray, variables)
    return Encoder(name, image_shape, parameters, encode, f"{digest(parameters)}:{precision}")


def digest(parameters: Any) -> str:
    """The first 20 digits of the SHA-256 of all leaves in the tree's order."""
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(parameters)):
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()[:20]

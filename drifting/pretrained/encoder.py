"""Trained networks as feature encoders, from a workdir of this project or a file of torchvision's.

Encoders know methods and checkpoints; methods know nothing of encoders, they are handed a
function of (parameters, images).
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from drifting import methods
from drifting.core import config as config_lib
from drifting.core.errors import ConfigError, one_of
from drifting.pretrained import torchvision
from drifting.training import checkpoints
from models import classifiers
from models.activations import Activations, input_stacks, location_stacks, pooled_stacks

FEATURES = ("pooled", "locations")
# Of ImageNet's pixels in [0, 1], as torchvision's weights expect them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """A trained network.

    Attributes:
      name: as it was asked for.
      parameters: on one device; arguments of a jitted program, never constants in it.
      encode: (parameters, images [B, H, W, C] in [-1, 1]) -> Activations.
      image_shape: [H, W, C].
      identity: differs wherever the numbers would.
    """

    name: str
    image_shape: tuple[int, int, int]
    parameters: Any
    encode: Callable[[Any, jax.Array], Activations]
    identity: str


def load(
    name: str, image_shape: tuple[int, int, int], precision: str = "float32"
) -> Encoder:
    """The encoder called `name` for images [H, W, C] = image_shape.

    Args:
      name: a workdir, of which the best checkpoint is taken (the newest where none is scored), or
        `torch:<network>:<file>` with torchvision's ImageNet weights, .pth or .safetensors.
      precision: `float32` or `bfloat16`, of the computation.

    Raises:
      ConfigError: there is no such run, or it is for other images or has no encoder.
      CheckpointError: its checkpoint is damaged.
      WeightsError: the file is missing or of another network.
    """
    if name.startswith("torch:"):
        return _from_torchvision(name, image_shape, precision)
    return _from_workdir(name, image_shape, precision)


def features(encoder: Encoder, kind: str, every_block: int) -> Callable:
    """The feature function (parameters, images) -> stacks [S, B, D] that drifting is handed.

    Args:
      kind: `pooled`, the mean of each stage's map; or `locations`, the released form: every place
        of the maps and their patches' means and deviations, with the images' own root mean square
        and pixels.
      every_block: for `locations`, the maps of every k-th block; 0 for the stages' alone.

    Raises:
      ConfigError: another kind.
    """
    one_of("method.encoder_features", kind, FEATURES)

    def pooled(parameters: Any, images: jax.Array) -> tuple[jax.Array, ...]:
        return pooled_stacks(encoder.encode(parameters, images))

    def locations(parameters: Any, images: jax.Array) -> tuple[jax.Array, ...]:
        found = location_stacks(encoder.encode(parameters, images), every_block)
        return (*input_stacks(images, 1), *found)

    return pooled if kind == "pooled" else locations


def _from_workdir(name: str, image_shape: tuple[int, int, int], precision: str) -> Encoder:
    workdir = pathlib.Path(name).expanduser()
    if not (workdir / "config.json").is_file():
        raise ConfigError(
            f"no encoder at {workdir}: it has no config.json. Train one with `python train.py "
            f"--config configs/classifier_cifar10.py:resnet18 --workdir {name}`, name another "
            "workdir, or set config.method.encoder='' for a run on pixels"
        )
    config = config_lib.read(workdir / "config.json")
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.precision = precision
    facts = read_facts(workdir)
    if tuple(facts.image_shape) != tuple(image_shape):
        raise ConfigError(
            f"the encoder {workdir} was trained on images {facts.image_shape}, the data set's are "
            f"{tuple(image_shape)}"
        )
    method = methods.create(config, facts)
    if not hasattr(method, "encode"):
        raise ConfigError(
            f"{workdir} is a run of method {config.method.name!r}, which is no encoder; name that "
            "of a classifier or a masked autoencoder"
        )
    parameters, step = _restore(workdir, method)
    digest = _digest(parameters)
    return Encoder(name, image_shape, parameters, method.encode, f"{digest}:{precision}:{step}")


def _restore(workdir: pathlib.Path, method: Any) -> tuple[Any, int]:
    folder = workdir / "checkpoints"
    steps = checkpoints.valid_steps(folder)
    if not steps:
        raise ConfigError(f"the encoder {workdir} has no finished checkpoint yet; train it further")
    best = checkpoints.best_step(folder, method.best_score) if method.best_score else None
    step = steps[-1] if best is None else best
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where),
        jax.eval_shape(method.init, jax.random.key(0)),
    )
    opened = checkpoints.Checkpoints(folder, read_only=True)
    try:
        return method.encoder(opened.restore(step, shapes)[0]), step
    finally:
        opened.close()


def read_facts(workdir: pathlib.Path) -> methods.DataFacts:
    """What config.json says of the data that a run was trained on.

    Raises:
      ConfigError: it says nothing, because another version wrote it.
    """
    values = json.loads((workdir / "config.json").read_text()).get("data")
    try:
        return methods.DataFacts(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        )
    except (AttributeError, TypeError) as error:
        raise ConfigError(
            f"{workdir}/config.json does not say on what data it was trained; train it again"
        ) from error


def _from_torchvision(name: str, image_shape: tuple[int, int, int], precision: str) -> Encoder:
    _, network_name, file = name.split(":", 2) if name.count(":") >= 2 else (None, "", "")
    one_of("method.encoder (torch:<network>:<file>)", network_name, classifiers.NAMES)
    if image_shape[2] != 3:
        raise ConfigError(f"{name} expects images of 3 channels, not {image_shape[2]}")
    state = torchvision.read(file)
    variables = torchvision.to_variables(network_name, state)
    num_classes, size = torchvision.sizes(network_name, state)
    network = classifiers.create(network_name, num_classes, size, dtype=jnp.dtype(precision))
    mean, std = 2.0 * np.asarray(IMAGENET_MEAN) - 1.0, 2.0 * np.asarray(IMAGENET_STD)

    def encode(parameters: Any, images: jax.Array) -> Activations:
        shape = (1, 1, 1, 3)
        x = (images - jnp.float32(mean).reshape(shape)) / jnp.float32(std).reshape(shape)
        return network.apply(parameters, x, train=False)

    parameters = jax.tree.map(jnp.asarray, variables)
    return Encoder(name, image_shape, parameters, encode, f"{_digest(parameters)}:{precision}")


def _digest(parameters: Any) -> str:
    """SHA-256 of all leaves in the tree's order."""
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(parameters)):
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()[:20]

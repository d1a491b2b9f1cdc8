"""The networks that a step uses and does not train, by name, from what a config says of them."""

import logging
import pathlib
from typing import Any

from drifting import methods
from drifting.core import config as config_lib
from drifting.core.errors import ConfigError
from drifting.core.method import Encoder, FeatureEncoder
from drifting.pretrained import encoder as encoders
from drifting.runs.workdir import Run

log = logging.getLogger(__name__)


def load(config: Any, shape: tuple[int, ...]) -> dict[str, Encoder]:
    """The networks that config.method names, for samples of a shape.

    Raises:
      UserError: one of them is not there, or is for other samples.
    """
    kind = methods.find(config.method.name).settings_type
    named = config_lib.typed(kind, config.method, "method").networks
    loaded = {name: LOADERS[name](place, shape, config.precision) for name, place in named.items()}
    for name, network in loaded.items():
        log.info("%s %s (%s)", name, network.name, network.identity)
    return loaded


def load_encoder(name: str, shape: tuple[int, ...], precision: str = "float32") -> Encoder:
    """The encoder called `name` for images [H, W, C] = shape.

    Args:
      name: a workdir, of which the best checkpoint is taken (the newest where none is scored), or
        `torch:<network>:<file>` with torchvision's ImageNet weights, .pth or .safetensors.
      precision: `float32` or `bfloat16`, of the computation.

    Raises:
      ConfigError: there is no such run, or it is for other images or has no encoder.
      CheckpointError: its checkpoint is damaged.
      WeightsError: the file is missing or of another network.
    """
    if name.startswith(encoders.PREFIX):
        return encoders.from_torchvision(name, shape, precision)
    workdir = pathlib.Path(name).expanduser()
    if not (workdir / "config.json").is_file():
        raise ConfigError(
            f"no encoder at {workdir}: it has no config.json. Train one with `python train.py "
            f"--config configs/classifier_cifar10.py:resnet18 --workdir {name}`, name another "
            "workdir, or set config.method.encoder='' for a run on pixels"
        )
    run = Run(workdir, precision=precision)
    if run.facts.space.shape != tuple(shape):
        raise ConfigError(
            f"the encoder {workdir} was trained on images {run.facts.space.shape}, the data set's "
            f"are {tuple(shape)}"
        )
    if not isinstance(run.method, FeatureEncoder):
        raise ConfigError(
            f"{workdir} is a run of method {run.config.method.name!r}, which is no encoder; name "
            "that of a classifier or a masked autoencoder"
        )
    step = run.best_step()
    parameters = run.method.encoder(run.restore(step)[0])
    identity = f"{encoders.digest(parameters)}:{precision}:{step}"
    return Encoder(name, tuple(shape), parameters, run.method.encode, identity)


LOADERS = {"encoder": load_encoder}

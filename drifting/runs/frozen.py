"""Loads the networks that a step uses but does not train, as a config names them."""

import logging
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from drifting import methods
from drifting.core import config as config_lib
from drifting.core.errors import ConfigError
from drifting.core.facts import LatentFacts
from drifting.core.method import Autoencoder, FeatureEncoder
from drifting.core.networks import Codec, Decoder, Encoder
from drifting.pretrained import encoder as encoders
from drifting.runs.decoding import decoder_of
from drifting.runs.workdir import Run
from input_pipeline.sources import latents as latent_files
from input_pipeline.space import Latents, Space

log = logging.getLogger(__name__)

# What to do about a workdir that is not there.
ENCODER_MISSING = (
    "no encoder at {0}: it has no config.json. Train one with `python train.py --config "
    "configs/classifier_cifar10.py:resnet18 --workdir {0}`, name another workdir, or set "
    "config.method.encoder='' to work on pixels"
)
AUTOENCODER_MISSING = (
    "no autoencoder at {0}: it has no config.json. Restore that workdir, or name the place that it "
    "was moved to with --config.data.autoencoder, for a run in its `python train.py` command"
)


def load(config: Any, shape: tuple[int, ...]) -> dict[str, Encoder]:
    """The networks that config.method names, by their names in `frozen`.

    Args:
      shape: of one sample.

    Raises:
      UserError: one of them is missing, or is for samples of another shape.
    """
    kind = methods.find(config.method.name).settings_type
    named = config_lib.typed(kind, config.method, "method").networks
    loaded = {name: LOADERS[name](place, shape, config.precision) for name, place in named.items()}
    for name, network in loaded.items():
        log.info("%s %s (%s)", name, network.name, network.identity)
    return loaded


def load_encoder(name: str, shape: tuple[int, ...], precision: str = "float32") -> Encoder:
    """The encoder `name`, for images of shape [H, W, C].

    Args:
      name: a workdir, whose best checkpoint is used (the newest if none is scored), or
        `torch:<network>:<file>` with torchvision's ImageNet weights, .pth or .safetensors.
      precision: of the computation, `float32` or `bfloat16`.

    Raises:
      ConfigError: the workdir is not that of a run, or its method has no encoder, or its images
        have another shape.
      CheckpointError: its checkpoint is damaged.
      WeightsError: the file is missing, or of another network.
    """
    if name.startswith(encoders.PREFIX):
        return encoders.from_torchvision(name, shape, precision)
    run = _run(name, ENCODER_MISSING, precision)
    workdir = run.workdir
    if run.facts.space.shape != tuple(shape):
        raise ConfigError(
            f"the encoder {workdir} was trained on images of shape {run.facts.space.shape}, but "
            f"those of the data set have {tuple(shape)}; change config.data.image_size and "
            "config.data.channels, or name another encoder"
        )
    if not isinstance(run.method, FeatureEncoder):
        raise ConfigError(
            f"{workdir} is a run of method {run.config.method.name!r}, which is not an encoder; "
            "name the workdir of a classifier or a masked autoencoder"
        )
    state, _, step = run.restore_best()
    method = run.at(step).method
    parameters = method.encoder(state)
    identity = f"{encoders.digest(parameters)}:{precision}:{step}"
    return Encoder(name, tuple(shape), parameters, method.encode, identity)


def load_autoencoder(name: str, precision: str = "float32") -> Codec:
    """The autoencoder `name`: a workdir, whose best checkpoint is used as for `load_encoder`.

    Args:
      precision: of the computation, `float32` or `bfloat16`.

    Raises:
      ConfigError: the workdir is not that of a run, or its method is no autoencoder.
      CheckpointError: its checkpoint is damaged.
    """
    run = _run(name, AUTOENCODER_MISSING, precision)
    if not isinstance(run.method, Autoencoder):
        raise ConfigError(
            f"{run.workdir} is a run of method {run.config.method.name!r}, which is not an "
            "autoencoder; name the workdir of one, as configs/vae_digits.py trains it"
        )
    state, _, step = run.restore_best()
    method = run.at(step).method
    parameters, space = method.autoencoder(state), method.facts.space
    images = jax.ShapeDtypeStruct((1, *space.shape), jnp.float32)
    *shape, channels = jax.eval_shape(method.moments, parameters, images).shape[1:]
    identity = f"{encoders.digest(parameters)}:{precision}:{step}"
    return Codec(
        name, space, (*shape, channels // 2), parameters, method.moments, method.decode, identity
    )


def load_decoder(config: Any, space: Space) -> Decoder | None:
    """The decoder of the latents of config.data.source, which are of `space`.

    None for other data, and for latents in npy files where config.data.autoencoder is not set.

    Raises:
      UserError: the autoencoder is missing, or is not the one that made the latents.
    """
    if not isinstance(space, Latents):
        return None
    data, found = config.data, latent_files.encoded(config.data.source)
    name = data.autoencoder or (found.autoencoder if found else "")
    if not name:
        return None
    codec = load_autoencoder(name)
    if found:
        latents = LatentFacts(name, found.autoencoder_identity, found.mean, found.std)
    else:
        scale = latent_files.scale_of(data.source, data.split, data.latent_scale)
        channels = codec.latent_shape[-1]
        latents = LatentFacts(name, codec.identity, (0.0,) * channels, (1.0 / scale,) * channels)
    decoder = decoder_of(codec, space, latents)
    log.info("autoencoder %s (%s)", name, codec.identity)
    return decoder


def open_run(workdir: str | pathlib.Path) -> Run:
    """A run to make samples with; latents are decoded by their autoencoder.

    Raises:
      UserError: the workdir is not that of a run, or the autoencoder is missing or another one.
    """
    run = Run(workdir)
    if run.autoencoder:
        run.use_autoencoder(load_autoencoder(run.autoencoder))
    return run


def channels_of(name: str) -> int:
    """The number of channels of the images that the encoder `name` takes.

    Raises:
      UserError: the workdir is not that of a run.
    """
    if name.startswith(encoders.PREFIX):
        return 3
    return _run(name, ENCODER_MISSING).facts.space.channels


def _run(name: str, missing: str, precision: str = "float32") -> Run:
    """The run in the workdir `name`; without a config.json, a ConfigError that says `missing`."""
    workdir = pathlib.Path(name).expanduser()
    if not (workdir / "config.json").is_file():
        raise ConfigError(missing.format(workdir))
    return Run(workdir, precision=precision)


LOADERS = {"encoder": load_encoder}

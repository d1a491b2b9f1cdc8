"""What the experiments here share. A config is made by `of(method, network)`, of the library.

The result is locked: an unknown key, in a file or on the command line, is an error that names the
nearest one. Each key is declared once, next to the code that reads it: `Settings` in
drifting/methods, input_pipeline/sources, drifting/training/schedule.py,
drifting/evaluation/settings.py, ...; the keys of `model` are attributes of the networks in models/.

Durations come in three units, of which exactly one is set and the others are None: *_steps,
*_epochs, *_examples (real images seen).

A variant of an experiment is named after a colon: configs/cifar10.py:short.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from drifting.core.config import of
from drifting.core.errors import ConfigError, did_you_mean

__all__ = [
    "cifar10",
    "digits_latents",
    "in_epochs",
    "of",
    "require_variant",
    "set_variant",
    "small_meanflow",
]


def require_variant(name: str, known: Iterable[str]) -> str:
    """Returns `name`, the text after the colon of a config file.

    Raises:
      ConfigError: it is unknown; the known variants and the nearest one are named.
    """
    known = sorted(known)
    if name not in known:
        raise ConfigError(
            f"unknown variant {name!r} after the colon of the config file; known variants: "
            f"{', '.join(known)}{did_you_mean(name, known)}"
        )
    return name


def set_variant(
    config: ConfigDict, name: str | None, variants: Mapping[str, Mapping[str, Any]]
) -> ConfigDict:
    """Returns the config with the values of one of the variants, which are given by dotted key.

    Without a name the config stays as it is. Raises ConfigError as `require_variant` does.
    """
    if name is not None:
        config.update_from_flattened_dict(variants[require_variant(name, variants)])
    return config


def cifar10(config: ConfigDict) -> None:
    """Sets the data to CIFAR-10, mirrored at random."""
    config.data.source = "tfds:cifar10"
    config.data.image_size = 32
    config.data.channels = 3
    config.data.flip = True


def digits_latents(config: ConfigDict) -> None:
    """Sets the data to the digits in latents, made as drifting_digits_latent.py says."""
    config.data.source = "latents:runs/digits_latents"
    config.data.image_size = 4
    config.data.channels = 2


def small_meanflow(config: ConfigDict) -> None:
    """Sets what MeanFlow on small images shares: its objective, optimizer and evaluation."""
    config.method.share_r_neq_t = 0.5
    config.method.norm_power = 0.75
    config.method.norm_epsilon = 1e-3
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 200
    config.ema_decay = 0.995
    config.train.log_steps = 100
    config.train.keep_checkpoints = 10
    config.eval.num_samples = 1000
    config.eval.features = "pixels"


def in_epochs(config: ConfigDict, total: float, sample: float, checkpoint: float) -> None:
    """Sets the length of a run and the intervals of its pictures and checkpoints, in epochs."""
    for name, epochs in (("total", total), ("sample", sample), ("checkpoint", checkpoint)):
        config.train[f"{name}_steps"] = None
        config.train[f"{name}_epochs"] = epochs

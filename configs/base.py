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
    "cut_release",
    "digits_latents",
    "imagenet_latents",
    "in_epochs",
    "inverted_digits_latents",
    "of",
    "require_variant",
    "set_variant",
    "small_cut",
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


def imagenet_latents(config: ConfigDict) -> None:
    """Sets the data to streamed latents of ImageNet, 32x32x4, and the precision to bfloat16."""
    config.data.source = "latents:data/imagenet_latents"
    config.data.image_size = 32
    config.data.channels = 4
    config.data.streaming = True
    config.precision = "bfloat16"


def inverted_digits_latents(config: ConfigDict) -> None:
    """Sets the data to streamed latents of digits in 20 classes, made as docs/drifting.md says."""
    config.data.source = "latents:runs/digits20_latents"
    config.data.image_size = 4
    config.data.channels = 2
    config.data.streaming = True
    config.data.read_threads = 2
    config.ema_decay = 0.99


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


def cut_release(config: ConfigDict) -> None:
    """Sets the objective and the optimisers of CUT to those of the release.

    github.com/taesungp/contrastive-unpaired-translation, options/ and models/cut_model.py.
    """
    config.method.update(
        batch_size=1, crop_scale=0.8, color_jitter=0.0, loss="lsgan", diff_augment=(), r1_gamma=0.0,
        nce_idt=True, nce_epsilon=1e-7, nce_clamp=0.0, identity_weight=0.0,
    )  # fmt: skip
    for optimizer in (config.optimizer, config.discriminator_optimizer):
        optimizer.update(schedule="linear", final_learning_rate=0.0, clip_norm=0.0)
    config.ema_decay = 0.0


def small_cut(config: ConfigDict, width: int, blocks: int) -> None:
    """Sets what CUT on 32x32 images on two CPU cores shares: a small generator, evaluation, and an
    objective by which a discriminator learns in a few hundred steps.
    """
    config.data.image_size = 32
    config.data.channels = 3
    config.model.width = width
    config.model.blocks = blocks
    config.method.taps = ("pad", "down_1", "down_2", "block_1", f"block_{blocks // 2 + 1}")
    config.method.num_patches = 64
    config.method.patch_width = 64
    config.method.loss = "lsgan"
    config.method.r1_gamma = 0.0  # 10 holds a small discriminator at chance
    config.method.color_jitter = 0.0  # colours are a part of what tells the domains apart
    config.method.diff_augment = ("translation",)
    config.model.initializer = config.discriminator.initializer = "normal"
    for optimizer in (config.optimizer, config.discriminator_optimizer):
        optimizer.learning_rate = 5e-4
        optimizer.final_learning_rate = 1e-4
    config.ema_decay = 0.99
    config.train.evaluate = True
    config.eval.num_samples = 1000
    config.eval.features = "pixels"
    config.eval.metrics = ("fid", "content")


def in_epochs(config: ConfigDict, total: float, sample: float, checkpoint: float) -> None:
    """Sets the length of a run and the intervals of its pictures and checkpoints, in epochs."""
    for name, epochs in (("total", total), ("sample", sample), ("checkpoint", checkpoint)):
        config.train[f"{name}_steps"] = None
        config.train[f"{name}_epochs"] = epochs

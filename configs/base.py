"""What the experiments here share. A config is made by `of(method, network)`, of the library.

The result is locked: an unknown key, in a file or on the command line, is an error that names the
nearest one. A key is declared once, next to the code that reads it: `Settings` in drifting/methods,
in input_pipeline/sources, drifting/training/schedule.py, drifting/evaluation/settings.py, ...;
attributes of networks in models/.

Durations come in three units, of which one is set and the others are None: *_steps, *_epochs,
*_examples (real images seen).
"""

from ml_collections import ConfigDict

from drifting.core.config import of

__all__ = ["cifar10", "in_epochs", "of"]


def cifar10(config: ConfigDict) -> None:
    """On CIFAR-10, mirrored at random."""
    config.data.source = "tfds:cifar10"
    config.data.image_size = 32
    config.data.channels = 3
    config.data.flip = True


def in_epochs(config: ConfigDict, total: float, sample: float, checkpoint: float) -> None:
    """Sets the length of a run, and its intervals of pictures and checkpoints, in epochs."""
    for name, epochs in (("total", total), ("sample", sample), ("checkpoint", checkpoint)):
        config.train[f"{name}_steps"] = None
        config.train[f"{name}_epochs"] = epochs

"""train.py --debug: a short run in which every part of training is soon seen at work."""

import pathlib
from typing import Any

from ml_collections import ConfigDict

from drifting.core import config as config_lib
from drifting.core import durations
from drifting.core.errors import ConfigError
from drifting.training import checkpoints

STEPS = 200
VALUES = {
    "train.total_steps": STEPS,
    "train.log_steps": 10,
    "train.plot_steps": 20,
    "train.sample_steps": 50,
    "train.checkpoint_steps": 100,
    "train.keep_checkpoints": 1,
    "train.keep_every_steps": 0,
    "train.evaluate": False,
    "ema_warmup": True,  # or the averages, which are sampled, would be those of the first weights
}
WARMUP_SHARE = 10  # of the steps, one in so many may warm the learning rate up


def shorten(config: ConfigDict, overrides: dict[str, Any], workdir: pathlib.Path) -> None:
    """Sets VALUES, and shorter warm-ups, except where the command line gives the key.

    Args:
      overrides: the values given on the command line, by dotted key. A duration in another unit is
        the same key.
      workdir: where the run is to be.

    Raises:
      ConfigError: the workdir holds a run of another length, whose checkpoints would be removed.
    """
    given = {_without_unit(key) for key in overrides}
    values = {key: value for key, value in VALUES.items() if _without_unit(key) not in given}
    config.update_from_flattened_dict(values)
    durations.choose_units(config, values)
    most = max(1, (config.train.total_steps or STEPS) // WARMUP_SHARE)
    for name in config:
        if name.endswith("optimizer") and f"{name}.warmup_steps" not in overrides:
            config[name].warmup_steps = min(config[name].warmup_steps, most)
    if checkpoints.is_resumable(workdir / "checkpoints"):
        saved, _ = config_lib.read(workdir / "config.json")
        if _length(saved.train) != _length(config.train):
            raise ConfigError(
                f"{workdir} holds a run of another length, of which --debug would remove "
                "checkpoints; choose another --workdir, or leave out --debug"
            )


def _without_unit(key: str) -> str:
    """train.total for train.total_epochs; keys that are no durations stay as they are."""
    stem, _, unit = key.rpartition("_")
    return stem if unit in durations.UNITS else key


def _length(train: ConfigDict) -> list[float | None]:
    return [train[f"total_{unit}"] for unit in durations.UNITS]

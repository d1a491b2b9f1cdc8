"""Durations in steps, epochs or examples (real images seen)."""

import math
from typing import Any

from ml_collections import ConfigDict

from drifting.core.errors import ConfigError

DURATIONS = ("total", "log", "sample", "checkpoint")
UNITS = ("steps", "epochs", "examples")
MOST_STEPS = 2**31 - 1  # a state counts its steps in an int32


def choose_units(config: ConfigDict, overrides: dict[str, Any]) -> None:
    """Sets the other units of each duration given on the command line to None.

    Args:
      overrides: the values given on the command line, by dotted key.
    """
    for name in DURATIONS:
        given = [u for u in UNITS if overrides.get(f"train.{name}_{u}") is not None]
        if len(given) == 1:
            for unit in set(UNITS) - set(given):
                config.train[f"{name}_{unit}"] = None


def to_steps(train: ConfigDict, name: str, images_per_step: int, num_images: int | None) -> int:
    """The duration `name` of config.train in steps. Units are converted only here.

    Args:
      images_per_step: real images seen per step.
      num_images: of the data set; None for a stream that does not end.

    Raises:
      ConfigError: not exactly one unit is set, the duration is shorter than one step, or it is in
        epochs of such a stream.
    """
    given = {u: train[f"{name}_{u}"] for u in UNITS if train[f"{name}_{u}"] is not None}
    if len(given) != 1:
        raise ConfigError(
            f"set exactly one of config.train.{name}_steps, _epochs and _examples, and the others "
            f"to None; now set: {given or 'none'}"
        )
    ((unit, value),) = given.items()
    epoch = steps_per_epoch(train, images_per_step, num_images)
    if unit == "epochs" and epoch == math.inf:
        raise ConfigError(
            f"config.train.{name}_epochs = {value}, but the data have no length: set "
            f"config.train.{name}_steps or _examples, or the length of an epoch in "
            "config.train.steps_per_epoch"
        )
    per_unit = {
        "steps": 1.0,
        "epochs": epoch,
        "examples": 1.0 / images_per_step,
    }
    exact = value * per_unit[unit]
    if not exact <= MOST_STEPS:  # or not a number
        raise ConfigError(
            f"config.train.{name}_{unit} = {value} is not at most {MOST_STEPS} steps; lower it"
        )
    if round(exact) < 1:
        raise ConfigError(
            f"config.train.{name}_{unit} = {value} is less than one step; increase it"
        )
    return round(exact)


def steps_per_epoch(train: ConfigDict, images_per_step: int, num_images: int | None) -> float:
    """config.train.steps_per_epoch or, where that is 0, num_images / images_per_step.

    Infinite where neither is known.

    Raises:
      ConfigError: it is negative.
    """
    if train.steps_per_epoch < 0:
        raise ConfigError(
            f"config.train.steps_per_epoch = {train.steps_per_epoch} is negative; set 0 for images "
            "of the data set / real images per step"
        )
    images = math.inf if num_images is None else num_images
    return float(train.steps_per_epoch or images / images_per_step)

"""Configs: durations in any unit, JSON in the workdir, and what may change between runs."""

import json
import os
import pathlib
from typing import Any

from ml_collections import ConfigDict

from drifting.core.errors import ConfigError
from drifting.core.files import write_atomically

DURATIONS = ("total", "log", "sample", "checkpoint")
UNITS = ("steps", "epochs", "examples")
# A checkpoint is only meaningful with these as they were; other changes are named and allowed.
FIXED = ("model", "data")
FREE = ("data.read_threads",)  # of these sections, what changes nothing


def choose_units(config: ConfigDict, overrides: dict[str, Any]) -> None:
    """A duration given on the command line clears its other units, which the file set.

    Args:
      overrides: the command line's values by dotted key.
    """
    for name in DURATIONS:
        given = [u for u in UNITS if overrides.get(f"train.{name}_{u}") is not None]
        if len(given) == 1:
            for unit in set(UNITS) - set(given):
                config.train[f"{name}_{unit}"] = None


def to_steps(train: ConfigDict, name: str, images_per_step: int, num_images: int) -> int:
    """The duration `name` of config.train in steps; the one place where units are converted.

    Args:
      images_per_step: real images that a step sees.
      num_images: of the data set.

    Raises:
      ConfigError: not exactly one unit is set, or the value is not positive.
    """
    given = {u: train[f"{name}_{u}"] for u in UNITS if train[f"{name}_{u}"] is not None}
    if len(given) != 1:
        raise ConfigError(
            f"set exactly one of config.train.{name}_steps, _epochs and _examples (the others to "
            f"None); set are {given or 'none'}"
        )
    ((unit, value),) = given.items()
    per_unit = {
        "steps": 1.0,
        "epochs": steps_per_epoch(train, images_per_step, num_images),
        "examples": 1.0 / images_per_step,
    }
    steps = round(value * per_unit[unit])
    if steps < 1:
        raise ConfigError(f"config.train.{name}_{unit} = {value} is less than one step")
    return steps


def steps_per_epoch(train: ConfigDict, images_per_step: int, num_images: int) -> float:
    """config.train.steps_per_epoch, or the data set's size over the real images of a step."""
    return float(train.steps_per_epoch or num_images / images_per_step)


def flatten(config: Any) -> dict[str, Any]:
    """Nested values by dotted key; tuples as lists, as JSON has them."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict | ConfigDict):
            flat.update({f"{key}.{k}": v for k, v in flatten(value).items()})
        else:
            flat[key] = list(value) if isinstance(value, tuple) else value
    return flat


def check_resume(saved: ConfigDict, config: ConfigDict) -> list[str]:
    """What differs outside config.train, as lines `key: saved -> now`, in keys that may.

    A key that only one of them has is passed over: it is newer than the run, or older than this
    version.

    Raises:
      ConfigError: keys differ that a checkpoint depends on; they are listed.
    """
    old, new = flatten(saved), flatten(config)
    changed = {
        key: f"config.{key}: {old[key]!r} -> {new[key]!r}"
        for key in sorted(old.keys() & new.keys())
        if old[key] != new[key]
    }
    fixed = [key for key in changed if key.split(".")[0] in FIXED and key not in FREE]
    refused = [changed[key] for key in fixed]
    if refused:
        raise ConfigError(
            "the workdir was trained with another model or data config: "
            + "; ".join(refused)
            + ". Set these back, or choose another --workdir"
        )
    return [line for key, line in changed.items() if key.split(".")[0] != "train"]


def write(path: str | os.PathLike, config: ConfigDict, facts: dict[str, Any]) -> None:
    """Writes {"config": ..., **facts} as JSON, whole or not at all."""
    text = json.dumps({"config": config.to_dict(), **facts}, indent=2) + "\n"
    write_atomically(path, text.encode())


def read(path: str | os.PathLike) -> ConfigDict:
    """The config that a run resolved.

    Raises:
      ConfigError: there is none, or it cannot be read.
    """
    try:
        values = json.loads(pathlib.Path(path).read_text())
        return ConfigDict(values["config"]).lock()
    except FileNotFoundError as error:
        raise ConfigError(
            f"no {path}: this is not the workdir of a run; train one with "
            "`python train.py --config configs/digits.py`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error}); restore it from a copy") from error

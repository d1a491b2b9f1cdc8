"""Configs: made from dataclasses, saved as JSON, compared when a run is resumed.

Each section of a config is a frozen dataclass next to the code that reads it; its keys, their
defaults and their meanings are declared only there. `of` makes the locked ConfigDict that users
change.

    from drifting.core import config

    def get_config():
        c = config.of("meanflow", "dit")
        c.data.source = "folder:photos"
        return c
"""

import dataclasses
import importlib
import json
import math
import os
import pathlib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict, config_dict

from drifting.core import optimizers
from drifting.core.errors import ConfigError, did_you_mean, one_of
from drifting.core.files import write_atomically
from models import registry

T = TypeVar("T")

# Where a method's class is found by its name. Imported only when a config is made.
METHODS = "drifting.methods:find"
# The sections of every config, and the dataclasses that declare their keys.
SECTIONS = {
    "data": "input_pipeline.sources:Settings",
    "train": "drifting.training.schedule:Settings",
    "mesh": "drifting.training.mesh:Settings",
    "eval": "drifting.evaluation.settings:Settings",
}
# Sections that a resumed run may not change; changes in the others are said.
FIXED = ("model", "data")
# Of these sections, what changes nothing: the data have a fingerprint, and an autoencoder has an
# identity (runs/same_data.py).
FREE = ("data.source", "data.read_threads", "data.autoencoder")
# By method: its keys that older versions wrote to config.json under another name.
RENAMED = {"drifting": {"normalization": "form"}}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The keys of a config outside its sections."""

    seed: int = 42  # of the initial weights and of all random draws
    precision: str = "float32"  # or bfloat16: of the computation; parameters stay float32
    deterministic: bool = False  # bit-reproducible on GPUs as well, but slower (README)
    ema_decay: float = 0.999  # of the averaged weights, which are scored; 0: no average
    ema_warmup: bool = False  # smaller at first: min(ema_decay, (1 + t) / (10 + t)) at step t

    def check(self) -> None:
        """Raises ConfigError for an invalid value; the message names the key."""
        one_of("precision", self.precision, ("float32", "bfloat16"))
        if not 0.0 <= self.ema_decay < 1.0:
            raise ConfigError(f"config.ema_decay = {self.ema_decay} is not in [0, 1)")


# --- making a config ----------------------------------------------------------------------------


def of(method: str, network: str | None = None) -> ConfigDict:
    """The locked config of a method, with its defaults.

    Args:
      method: a name in drifting/methods/__init__.py.
      network: a name in models/registry.py; the method's default network if None.

    Raises:
      ConfigError: the method or the network is unknown; the nearest name is suggested.
    """
    kind = find(METHODS)(method)
    config = section(Settings())
    for name, place in SECTIONS.items():
        config[name] = section(find(place)())
    config.method = section(kind.settings_type(), name=method)
    for name, settings in kind.sections.items():
        config[name] = section(settings)
    config.model = _network_section(network or kind.default_network)
    for name, settings in kind.default_optimizers.items():
        config[name] = _optimizer_section(settings)
    config.update_from_flattened_dict(kind.defaults)
    return config.lock()


def find(place: str) -> Any:
    """The object at `place`, "package.module:name"."""
    module, _, name = place.partition(":")
    return vars(importlib.import_module(module))[name]


def section(settings: Any, name: str | None = None) -> ConfigDict:
    """The fields of a dataclass as typed keys; only those of type `T | None` can be set to None.

    Args:
      name: the value of a first key, `name`; left out if None.
    """
    made = ConfigDict({"name": name} if name else {})
    for field in dataclasses.fields(settings):
        value = vars(settings)[field.name]
        if isinstance(field.type, types.UnionType):
            made[field.name] = config_dict.placeholder(typing.get_args(field.type)[0])
        if value is not None:
            made[field.name] = value
    return made


def _network_section(name: str) -> ConfigDict:
    return section(registry.settings(name)(), name)


def _optimizer_section(settings: Any) -> ConfigDict:
    return section(settings, optimizers.name_of(settings))


# --- reading a config ---------------------------------------------------------------------------


def typed(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """A section as the dataclass of its keys; keys that an older run lacks get their defaults.

    Args:
      where: the section's name, for error messages.

    Raises:
      ConfigError: a key is unknown (the nearest one is suggested), or None and must not be.
    """
    known = {field.name: field.type for field in dataclasses.fields(kind)}
    given = {key: value for key, value in values.items() if key != "name"}
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"unknown key config.{where}.{key}{did_you_mean(key, known)}")
        if value is None and not isinstance(known[key], types.UnionType):
            raise ConfigError(f"config.{where}.{key} cannot be None; give it a value")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})


def resolve(config: ConfigDict) -> ConfigDict:
    """A copy whose sections have the keys of the network and the optimisers that they name.

    Where `model.name` (or an optimiser's `name`) was changed, keys that the old and the new one
    share keep their values, except a `size` that the new one does not have; the other keys get the
    new one's defaults.

    Raises:
      ConfigError: the network or the optimiser is unknown (the nearest name is suggested), a number
        is not finite, one of the network is negative, a key is None that must not be, or a key of
        `Settings` has an invalid value.
    """
    for key, value in flatten(config).items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise ConfigError(f"config.{key} = {value} is not a finite number; set another")
            if key.startswith("model.") and isinstance(number, int | float) and number < 0:
                raise ConfigError(f"config.{key} = {value} is negative; set 0 or more")
    common = [field.name for field in dataclasses.fields(Settings)]
    Settings(**{key: config[key] for key in common}).check()
    config = config.copy_and_resolve_references()
    with config.unlocked():
        for key in config:
            if key == "model":
                kind = registry.settings(config.model.name)
            elif key.endswith("optimizer"):
                kind = _optimizer(key, config[key].name)
            else:
                if key in SECTIONS:
                    typed(find(SECTIONS[key]), config[key], key)
                continue
            fresh = section(kind(), config[key].name)
            if fresh.keys() != config[key].keys():
                config[key] = _carried_over(config[key], fresh)
            typed(kind, config[key], key)
    return config.lock()


def _optimizer(key: str, name: str) -> type:
    return optimizers.OPTIMIZERS[one_of(f"{key}.name", name, optimizers.OPTIMIZERS)]


def _carried_over(old: ConfigDict, new: ConfigDict) -> ConfigDict:
    """`new`, with the values of `old` for the keys that both have."""
    for key in set(old) & set(new):
        if key != "size" or old.size in registry.sizes(new.name):
            new[key] = old[key]
    return new


# --- the config of a run ------------------------------------------------------------------------


def flatten(config: Any) -> dict[str, Any]:
    """Nested values by dotted key; tuples become lists, as in JSON."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict | ConfigDict):
            flat.update({f"{key}.{k}": v for k, v in flatten(value).items()})
        else:
            flat[key] = list(value) if isinstance(value, tuple) else value
    return flat


def changes(saved: ConfigDict, config: ConfigDict) -> dict[str, tuple[Any, Any]]:
    """The values of each key that changed: the saved one, and that of `config`.

    Keys that only one of the two configs has are ignored: they were added after the run began, or
    have been removed since.
    """
    old, new = flatten(saved), flatten(config)
    common = sorted(old.keys() & new.keys())
    return {key: (old[key], new[key]) for key in common if old[key] != new[key]}


def check_resume(saved: ConfigDict, config: ConfigDict) -> list[str]:
    """The allowed changes, as `key: saved -> now`.

    Raises:
      ConfigError: keys that a checkpoint depends on have changed; they are listed.
    """
    values = changes(saved, config)
    changed = {key: f"config.{key}: {old!r} -> {new!r}" for key, (old, new) in values.items()}
    fixed = [key for key in changed if key.split(".")[0] in FIXED and key not in FREE]
    if not all(values.get("ema_decay", (True,))):
        fixed.append("ema_decay")  # a state either has averages or does not
    refused = [changed[key] for key in fixed]
    if refused:
        raise ConfigError(
            "the workdir was trained with another model, data or average: "
            + "; ".join(refused)
            + ". Restore these values, or choose another --workdir"
        )
    return list(changed.values())


def write(path: str | os.PathLike, config: ConfigDict, facts: dict[str, Any]) -> None:
    """Writes {"config": ..., **facts} as JSON, atomically."""
    text = json.dumps({"config": config.to_dict(), **facts}, indent=2) + "\n"
    write_atomically(path, text.encode())


def read(path: str | os.PathLike) -> tuple[ConfigDict, dict[str, Any]]:
    """The config and the facts that `write` saved; keys of `Settings` that it lacks get defaults.

    Raises:
      ConfigError: the file is missing or damaged, or a key of `Settings` has an invalid value.
    """
    try:
        values = json.loads(pathlib.Path(path).read_bytes())
        config = values.pop("config")
        for old, new in RENAMED.get(config["method"]["name"], {}).items():
            if old in config["method"]:
                config["method"][new] = config["method"].pop(old)
        config = {**vars(Settings()), **config}
        Settings(**{key: config[key] for key in vars(Settings())}).check()
        return ConfigDict(config).lock(), values
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}; restore it from a copy") from error
    except FileNotFoundError as error:
        raise ConfigError(
            f"no {path}: this is not the workdir of a run; train one with "
            "`python train.py --config configs/digits.py`"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged ({error}); restore it from a copy") from error


def read_complete(path: str | os.PathLike) -> tuple[ConfigDict, dict[str, Any]]:
    """As `read`, with the defaults of keys that an older run lacks.

    Raises:
      ConfigError: as `read`, or a value has another type than this version's, or is invalid.
    """
    saved, values = read(path)
    try:
        config = of(saved.method.name, saved.model.name)
        with config.unlocked():
            for key in set(config) & set(saved):
                if key.endswith("optimizer"):
                    config[key] = section(_optimizer(key, saved[key].name)(), saved[key].name)
            config.update(saved)
        return resolve(config), values
    except (ConfigError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{path} does not fit this version of the program ({reason}); open the run with the "
            "version that wrote it, or restore the file from a copy"
        ) from error

"""From a suite file to the runs of an ablation."""

import dataclasses
import functools
import os
import pathlib
import re
import runpy
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from drifting.core import config as config_lib
from drifting.core import durations
from drifting.matrix import definition
from drifting.matrix.definition import ROOT, PlanError

KEYS = ("encoder", "runs", "budget", "nano")
BUDGET_KEYS = ("all", "encoder", "runs")
ENCODER = "encoder"
TAKEN = (ENCODER, "logs")  # folders beside those of the runs
# Runs that differ in one of these cannot stand in one table.
ALIKE = (
    "seed", "data.source", "data.split", "data.image_size", "train.total_steps",
    "train.checkpoint_steps", "eval.num_samples", "eval.cfg_scale", "eval.seed", "eval.features",
    "eval.fid_mode",
)  # fmt: skip

Overrides = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class AblationRun:
    """One run of an ablation, or its encoder.

    Attributes:
      config: its config file, relative to the repository, perhaps with an argument after a colon.
      overrides: config values by dotted key.
      resolved: the config with the overrides.
    """

    name: str
    config: str
    overrides: Overrides
    resolved: ConfigDict

    @property
    def settings(self) -> list[str]:
        """What it is trained with, as words."""
        return [self.config, *(f"{key}={value}" for key, value in self.overrides.items())]

    def arguments(self, workdir: str | pathlib.Path) -> list[str]:
        """What train.py is called with."""
        keys = [f"--config.{key}={value}" for key, value in self.overrides.items()]
        return ["--config", self.config, "--workdir", str(workdir), *keys]

    @property
    def scored_steps(self) -> list[int]:
        """Of the checkpoints that training leaves."""
        train = self.resolved.train
        return sorted({*range(0, train.total_steps, train.checkpoint_steps), train.total_steps})


@dataclasses.dataclass(frozen=True)
class Ablation:
    """A suite.

    Attributes:
      encoder: trained before the runs; None where one was given or the suite has none.
      runs: in the order of the table.
      features: what the scores are measured in, for people.
    """

    encoder: AblationRun | None
    runs: list[AblationRun]
    features: str


def read_ablation(
    path: str | os.PathLike,
    out: str | os.PathLike,
    nano: bool = False,
    encoder: str | None = None,
) -> Ablation:
    """The ablation of a suite file, whose `get_ablation()` returns

        {"encoder": {"config": file, **overrides},
         "runs": {name: {"config": file, **overrides}},
         "budget": {"all": overrides, "encoder": overrides, "runs": {name: overrides}},
         "nano": as "budget", which it replaces}

    of which only "runs" has to be. Overrides are config values by dotted key; those of a budget's
    "runs" win over those of "all", and they over a run's own. Runs whose config names an encoder
    drift in the suite's features, and all runs are scored in them.

    Args:
      out: the folder of the suite, where the encoder is trained.
      nano: with the budget "nano".
      encoder: workdir of an encoder that is trained already.

    Raises:
      PlanError: one line that names the file and the fault.
    """
    parse = functools.partial(_parse, out=pathlib.Path(out), nano=nano, given=encoder)
    return definition.read(path, "get_ablation", parse)


def _parse(suite: dict, out: pathlib.Path, nano: bool, given: str | None) -> Ablation:
    _refuse_unknown(suite, KEYS)
    entries = _entries("'runs'", suite.get("runs"))
    budget = _budget(suite, "nano" if nano else "budget", entries)
    encoder = _encoder(suite, budget, given)
    workdir = given or (encoder and out / ENCODER)
    runs = []
    for name, entry in entries.items():
        values = {**entry, **budget["all"], **budget["runs"].get(name, {})}
        runs.append(_make_run(name, values, workdir and pathlib.Path(workdir).absolute()))
    _refuse_differences(runs)
    features = runs[0].resolved.eval.features
    if workdir:
        network = pathlib.Path(workdir).name if given else encoder.config
        features = f"those of the encoder {network}"
    return Ablation(encoder, runs, features)


def _entries(where: str, entries: Any) -> dict[str, Overrides]:
    if not isinstance(entries, dict) or not entries:
        raise PlanError(f"{where} has to be a dict of runs: {{name: {{'config': file}}}}")
    for name, entry in entries.items():
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.]*", name) or name in TAKEN:
            raise PlanError(
                f"a run cannot be called {name!r}: use letters, digits, _ and ., but not "
                f"{' or '.join(TAKEN)}"
            )
        _overrides(f"the run {name!r}", entry)
    return entries


def _overrides(where: str, values: Any) -> Overrides:
    if not isinstance(values, dict):
        raise PlanError(f"{where} is a {type(values).__name__}, not a dict of config keys")
    return values


def _budget(suite: dict, key: str, runs: Mapping[str, Any]) -> dict[str, Any]:
    if key == "nano" and key not in suite:
        raise PlanError("it has no 'nano' budget; leave --nano out")
    budget = _overrides(repr(key), suite.get(key, {}))
    _refuse_unknown(budget, BUDGET_KEYS, f"of {key!r}")
    whole = {part: _overrides(f"{key}[{part!r}]", budget.get(part, {})) for part in BUDGET_KEYS}
    _refuse_unknown(whole["runs"], runs, f"of {key}['runs']")
    for name, values in whole["runs"].items():
        _overrides(f"{key}['runs'][{name!r}]", values)
    return whole


def _encoder(suite: dict, budget: dict[str, Any], given: str | None) -> AblationRun | None:
    """The encoder to train, if any; its config is checked even where another one is given."""
    if "encoder" not in suite:
        unused = "--encoder" if given else "its budget of the encoder" if budget["encoder"] else ""
        if unused:
            raise PlanError(f"it has no 'encoder', so {unused} is of no use")
        return None
    entry = _overrides("'encoder'", suite["encoder"])
    run = _make_run(ENCODER, {**entry, **budget["encoder"]}, None)
    if not given:
        return run
    if not (pathlib.Path(given) / "config.json").is_file():
        raise PlanError(f"--encoder {given} is not the workdir of a run: it has no config.json")
    return None


def _make_run(name: str, values: Overrides, encoder: pathlib.Path | None) -> AblationRun:
    file = values.get("config")
    if not isinstance(file, str) or not (ROOT / file.partition(":")[0]).is_file():
        raise PlanError(f"the 'config' of {name!r} is {file!r}: there is no such file")
    overrides = {key: value for key, value in values.items() if key != "config"}
    config = _load(file)
    if encoder:
        overrides["eval.features"] = f"encoder:{encoder}"
        if overrides.get("method.encoder", config.method.get("encoder")):
            overrides["method.encoder"] = str(encoder)
    return AblationRun(name, file, overrides, _resolve(name, config, overrides))


def _load(file: str) -> ConfigDict:
    path, _, argument = file.partition(":")
    try:
        get_config = runpy.run_path(str(ROOT / path))["get_config"]
        return get_config(argument) if argument else get_config()
    except Exception as error:  # whatever the file does wrong
        raise PlanError(f"{file}: {type(error).__name__}: {error}") from error


def _resolve(name: str, config: ConfigDict, overrides: Overrides) -> ConfigDict:
    _refuse_unknown(overrides, config_lib.flatten(config), f"of the run {name!r}")
    for key, value in overrides.items():
        if value is None:
            raise PlanError(f"{key} of {name!r} is None, which takes a config file of its own")
    try:
        config.update_from_flattened_dict(overrides)
    except (TypeError, ValueError) as error:
        raise PlanError(f"the run {name!r}: {error}") from error
    durations.choose_units(config, overrides)
    return config


def _refuse_unknown(given: Mapping, known: Any, where: str = "") -> None:
    fault = definition.find_unknown(given, known, where)
    if fault:
        raise PlanError(fault)


def _refuse_differences(runs: list[AblationRun]) -> None:
    """One table holds runs of one seed, one budget and one measure, with all of their scores."""
    configs = {run.name: config_lib.flatten(run.resolved) for run in runs}
    first = runs[0].name
    for run in runs:
        for key in ALIKE:
            here, there = configs[run.name][key], configs[first][key]
            if here != there:
                raise PlanError(
                    f"{key} is {there} in {first!r} but {here} in {run.name!r}, so these cannot "
                    "be compared; set it in the budget's 'all'"
                )
        train = run.resolved.train
        if not train.total_steps or not train.checkpoint_steps:
            raise PlanError(f"{run.name!r} needs train.total_steps and train.checkpoint_steps")
        if train.keep_checkpoints < len(run.scored_steps):
            raise PlanError(
                f"{run.name!r} keeps {train.keep_checkpoints} of the {len(run.scored_steps)} "
                "checkpoints to be scored; set train.keep_checkpoints"
            )

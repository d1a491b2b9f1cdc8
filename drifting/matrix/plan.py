"""From a matrix file to its runs."""

import dataclasses
import itertools
import os
import pathlib
import re
from typing import Any

from drifting.matrix import definition
from drifting.matrix.definition import ROOT, PlanError

AXES = ("configs", "models", "precisions", "seeds")
KEYS = (*AXES, "overrides")


@dataclasses.dataclass(frozen=True)
class MatrixRun:
    """One run of a matrix.

    Attributes:
      config: the data set's config file, relative to the repository.
      overrides: further config values, as `key=value`.
    """

    data_set: str
    config: str
    model: str
    precision: str
    seed: int
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.data_set}-{self.model}-{self.precision}-seed{self.seed}"

    def arguments(self, workdir: str | pathlib.Path) -> list[str]:
        """What train.py is called with."""
        values = (f"precision={self.precision}", f"seed={self.seed}", *self.overrides)
        keys = [f"--config.{value}" for value in values]
        return ["--config", f"{self.config}:{self.model}", "--workdir", str(workdir), *keys]


def read_matrix(path: str | os.PathLike) -> list[MatrixRun]:
    """The runs of a matrix file, in the order of its axes, the last axis (seeds) fastest.

    Its `get_matrix()` returns {"configs": {data set: config file}, "models": [...], "precisions":
    [...], "seeds": [...], "overrides": {config key: value}}; the overrides may be left out.

    Raises:
      PlanError: one line that names the file and the fault.
    """
    return definition.read(path, "get_matrix", _parse)


def _parse(matrix: dict) -> list[MatrixRun]:
    fault = _find_fault(matrix)
    if fault:
        raise PlanError(fault)
    overrides = tuple(f"{key}={value}" for key, value in matrix.get("overrides", {}).items())
    return [
        MatrixRun(data_set, config, model, precision, seed, overrides)
        for (data_set, config), model, precision, seed in itertools.product(
            matrix["configs"].items(), matrix["models"], matrix["precisions"], matrix["seeds"]
        )
    ]


def _find_fault(matrix: dict) -> str | None:
    """What is wrong with the value of get_matrix(), or None."""
    unknown = definition.find_unknown(matrix, KEYS)
    if unknown:
        return unknown
    for key in AXES:
        if key not in matrix:
            return f"the key {key!r} is missing; it needs {', '.join(AXES)}"
        fault = _find_axis_fault(key, matrix[key])
        if fault:
            return fault
    overrides = matrix.get("overrides", {})
    if not isinstance(overrides, dict):
        return f"'overrides' is a {type(overrides).__name__}, not a dict of config keys"
    for key in ("precision", "seed"):
        if key in overrides:
            return f"'overrides' sets {key}, which is an axis of its own: {key}s"
    return None


def _find_axis_fault(key: str, values: Any) -> str | None:
    kind = dict if key == "configs" else list
    if not isinstance(values, kind):
        return f"{key!r} is a {type(values).__name__}, not a {kind.__name__}"
    if not values:
        return f"{key!r} is empty"
    given = list(values.values()) if key == "configs" else values
    twice = [value for i, value in enumerate(given) if value in given[:i]]
    if twice:
        return f"{key!r} holds {twice[0]!r} twice"
    if key == "seeds":
        wrong = [v for v in values if type(v) is not int or v < 0]
        return f"'seeds' holds {wrong[0]!r}, not a whole number from 0" if wrong else None
    # Names of folders are made of these, joined by hyphens.
    wrong = [v for v in values if not isinstance(v, str) or not re.fullmatch(r"\w[\w.]*", v)]
    if wrong:
        return f"{key!r} holds {wrong[0]!r}: use letters, digits, _ and ."
    lost = [v for v in given if key == "configs" and not (ROOT / str(v)).is_file()]
    return f"'configs' names {lost[0]}: there is no such file" if lost else None

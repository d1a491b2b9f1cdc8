"""The building blocks of a suite file: runs with their configs, and a table.

The file defines a `get_suite()` that returns a Suite. If it takes a `budget`, --nano calls it with
budget="nano". See configs/suites, and the example in the README.
"""

import dataclasses
import itertools
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from drifting.core.errors import UserError, did_you_mean

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOGS = "logs"  # a folder next to those of the runs
FRAMEWORKS = ("jax", "torch")  # train.py, and the PyTorch loop in scripts/reference_torch
TABLES = {
    "accuracy": "drifting.suites.accuracy:AccuracyTable",
    "scores": "drifting.suites.scores:ScoreTable",
}


class SuiteError(UserError):
    """A suite that cannot be run as requested; the message says what to change."""


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """One run of a suite.

    Attributes:
      name: the name of its folder and of its row in the table.
      config: a config file relative to the repository, optionally with an argument after a colon.
      overrides: config values by dotted key; "{encoder}" in a string is replaced by the workdir of
        the run "encoder", which `after` has to name.
      after: names of the runs that have to finish before this one starts.
      labels: further cells of its row, by column.
      in_table: False for a run that only prepares others: it is finished once it has a test.json,
        is not scored, and has no row.
      framework: one of FRAMEWORKS.

    Raises:
      SuiteError: an attribute is invalid.
    """

    name: str
    config: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    after: Sequence[str] = ()
    labels: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    in_table: bool = True
    framework: str = "jax"

    def __post_init__(self):
        name, config, overrides = self.name, self.config, self.overrides
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name) or name == LOGS:
            raise SuiteError(
                f"a run cannot be called {name!r}: use letters, digits, _, - and ., but not {LOGS}"
            )
        if not isinstance(config, str) or not (ROOT / config.partition(":")[0]).is_file():
            raise SuiteError(f"the config of {name!r} is {config!r}, which does not exist")
        if not isinstance(overrides, Mapping):
            raise SuiteError(
                f"the overrides of {name!r} are a {type(overrides).__name__}, not a dict of config "
                "keys"
            )
        for key, value in overrides.items():
            if value is None:
                raise SuiteError(
                    f"{key} of {name!r} is None, which no flag can set; set it in a config file"
                )
        if self.framework not in FRAMEWORKS:
            raise SuiteError(
                f"the framework of {name!r} is {self.framework!r}; choose one of "
                f"{', '.join(FRAMEWORKS)}"
            )

    @property
    def settings(self) -> list[str]:
        """The config, overrides and framework that it is trained with."""
        framework = [] if self.framework == "jax" else [f"framework={self.framework}"]
        overrides = (f"{key}={value}" for key, value in self.overrides.items())
        return [self.config, *overrides, *framework]

    def train_arguments(self, workdir: pathlib.Path) -> list[str]:
        """The arguments of train.py, and of the PyTorch loop's."""
        keys = [f"--config.{key}={value}" for key, value in self.overrides.items()]
        return ["--config", self.config, "--workdir", str(workdir), *keys]


@dataclasses.dataclass(frozen=True)
class Suite:
    """Runs and the table that compares them.

    Attributes:
      runs: in the order of the table; each run comes after its prerequisites.
      table: "accuracy" (classifiers: mean and spread over seeds) or "scores" (generators: Frechet
        distance by training step).

    Raises:
      SuiteError: `runs` holds none, duplicate names or unknown prerequisites, or the table is
        unknown.
    """

    runs: Sequence[RunSpec]
    table: str

    def __post_init__(self):
        if self.table not in TABLES:
            raise SuiteError(f"unknown table {self.table!r}; choose one of {', '.join(TABLES)}")
        if not isinstance(self.runs, list | tuple) or not self.runs:
            raise SuiteError("'runs' has to be a list of at least one RunSpec")
        names: set[str] = set()
        for run in self.runs:
            if not isinstance(run, RunSpec):
                raise SuiteError(f"'runs' holds a {type(run).__name__}, not a RunSpec")
            if run.name in names:
                raise SuiteError(f"two runs are called {run.name!r}; rename one")
            if self.table == "scores" and run.framework != "jax":
                raise SuiteError(
                    f"{run.name!r} is trained by {run.framework}, which trains only classifiers "
                    "for the table 'accuracy'"
                )
            _check_prerequisites(run, names)
            names.add(run.name)
        if not any(run.in_table for run in self.runs):
            raise SuiteError("no run is in the table; leave out in_table=False for at least one")


def _check_prerequisites(run: RunSpec, before: set[str]) -> None:
    if isinstance(run.after, str):
        raise SuiteError(f"'after' of {run.name!r} is a str; write after=({run.after!r},)")
    for name in run.after:
        if name not in before:
            raise SuiteError(
                f"{run.name!r} waits for {name!r}, which is not a run before it in the suite"
                f"{did_you_mean(name, before)}"
            )
    texts = [value for value in run.overrides.values() if isinstance(value, str)]
    for name in itertools.chain(*(re.findall(r"{(.*?)}", text) for text in texts)):
        if name not in run.after:
            raise SuiteError(
                f"{run.name!r} uses the workdir {{{name}}}, but 'after' does not name that run; "
                "add it there"
            )


def matrix(
    configs: Mapping[str, str],
    models: Sequence[str],
    precisions: Sequence[str],
    seeds: Sequence[int],
    overrides: Mapping[str, Any] | None = None,
    frameworks: Sequence[str] = ("jax",),
) -> list[RunSpec]:
    """A run for the accuracy table for each combination of the axes, the last varying fastest.

    Args:
      configs: config file by data set; the model is appended to it after a colon.
      overrides: further config values of all runs, by dotted key.
      frameworks: of FRAMEWORKS, the last axis; the name of a run says which only if it is not jax.

    Raises:
      SuiteError: an axis is empty, or has duplicate or invalid values.
    """
    axes = {"configs": configs, "models": models, "precisions": precisions, "seeds": seeds,
            "frameworks": frameworks}  # fmt: skip
    for axis, values in axes.items():
        _check_axis(axis, values)
    for key in ("precision", "seed"):
        if key in (overrides or {}):
            raise SuiteError(f"'overrides' sets {key}, which is an axis; use {key}s instead")
    return [
        RunSpec(
            f"{data_set}-{model}-{precision}-seed{seed}"
            + ("" if framework == "jax" else f"-{framework}"),
            f"{config}:{model}",
            {"precision": precision, "seed": seed, **(overrides or {})},
            labels=dict(data_set=data_set, model=model, precision=precision, seed=seed),
            framework=framework,
        )
        for (data_set, config), model, precision, seed, framework in itertools.product(
            configs.items(), models, precisions, seeds, frameworks
        )
    ]


def _check_axis(axis: str, values: Any) -> None:
    kind, known = ("dict", dict) if axis == "configs" else ("list", list | tuple)
    if not isinstance(values, known):
        raise SuiteError(f"{axis!r} is a {type(values).__name__}, not a {kind}")
    if not values:
        raise SuiteError(f"{axis!r} is empty")
    given = list(values.values()) if axis == "configs" else values
    for i, value in enumerate(given):
        if value in given[:i]:
            raise SuiteError(f"{axis!r} holds {value!r} twice; remove one")
    for value in values:
        if axis == "seeds":
            if type(value) is not int or value < 0:
                raise SuiteError(f"'seeds' holds {value!r}, not a whole number from 0")
        # These are joined by hyphens to form names of folders.
        elif not isinstance(value, str) or not re.fullmatch(r"\w[\w.]*", value):
            raise SuiteError(f"{axis!r} holds {value!r}: use letters, digits, _ and .")

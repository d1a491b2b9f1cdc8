"""Plans: a suite file read for a folder."""

import dataclasses
import importlib
import inspect
import os
import pathlib
import re
import runpy
import sys
from collections.abc import Sequence

from drifting.core.errors import did_you_mean
from drifting.suites.suite import ROOT, TABLES, RunSpec, Suite, SuiteError
from drifting.suites.tables import Table


@dataclasses.dataclass(frozen=True)
class Plan:
    """A suite in a folder.

    Attributes:
      out: the folder of the suite; each run is a folder in it.
      runs: all runs, with workdirs filled into their overrides.
      table: knows which runs are finished, and compares them.
    """

    out: pathlib.Path
    runs: Sequence[RunSpec]
    table: Table


def read_plan(
    suite: str | os.PathLike,
    out: str | os.PathLike,
    nano: bool = False,
    encoder: str | None = None,
    features: str | None = None,
) -> Plan:
    """The plan of the suite file `suite` in the folder `out`; writes nothing.

    Args:
      suite: a Python file with `get_suite()`, which returns a Suite.
      nano: call get_suite(budget="nano").
      encoder: workdir of a trained encoder, to use in place of the run "encoder".
      features: those of the scores, in place of config.eval.features; "inception" or "pixels".

    Raises:
      SuiteError: the suite is invalid; the message names the file and the fault.
    """
    path, out = pathlib.Path(suite).expanduser(), pathlib.Path(out).expanduser()
    try:
        loaded = _load(path, nano)
        runs = _fill_in(loaded.runs, out, encoder)
        if features and loaded.table != "scores":
            raise SuiteError(f"its table is {loaded.table!r}, not 'scores'; leave --features out")
        module, _, name = TABLES[loaded.table].partition(":")
        kind = vars(importlib.import_module(module))[name]
        table = kind(runs, out, features) if features else kind(runs, out)
        return Plan(out, runs, table)
    except SuiteError as error:
        raise SuiteError(f"{path}: {error}") from error


def _load(path: pathlib.Path, nano: bool) -> Suite:
    if not path.is_file():
        near = did_you_mean(path, map(str, path.parent.glob("*.py")))
        raise SuiteError(f"there is no such file{near}")
    if str(ROOT) not in sys.path:  # for `from configs import base`
        sys.path.insert(0, str(ROOT))
    try:
        get_suite = runpy.run_path(str(path)).get("get_suite")
        if not get_suite:
            raise SuiteError("it defines no get_suite(), which has to return a Suite")
        if nano and "budget" not in inspect.signature(get_suite).parameters:
            raise SuiteError("it has no 'nano' budget; leave --nano out")
        suite = get_suite(budget="nano") if nano else get_suite()
    except SuiteError:
        raise
    except Exception as error:  # whatever the file does wrong
        raise SuiteError(f"{type(error).__name__}: {error}") from error
    if not isinstance(suite, Suite):
        raise SuiteError(f"get_suite() returns a {type(suite).__name__}, not a Suite")
    return suite


def _fill_in(runs: Sequence[RunSpec], out: pathlib.Path, encoder: str | None) -> list[RunSpec]:
    """The runs with workdirs in place of "{name}", without the run "encoder" if one is given."""
    workdirs = {run.name: str((out / run.name).absolute()) for run in runs}
    if encoder:
        if not any("encoder" in run.after for run in runs):
            raise SuiteError("no run waits for an 'encoder'; leave --encoder out")
        given = pathlib.Path(encoder).expanduser()
        if not (given / "config.json").is_file():
            raise SuiteError(
                f"--encoder {encoder} is not the workdir of a run: it has no config.json"
            )
        workdirs["encoder"] = str(given.absolute())
        runs = [run for run in runs if run.name != "encoder"]

    def fill(value):
        return re.sub(r"{(.*?)}", lambda found: workdirs[found[1]], value)

    left = {run.name for run in runs}
    return [
        dataclasses.replace(
            run,
            overrides={k: fill(v) if isinstance(v, str) else v for k, v in run.overrides.items()},
            after=[name for name in run.after if name in left],
        )
        for run in runs
    ]

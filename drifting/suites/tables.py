"""The base class of tables: which runs are finished, how they ended, CSV and Markdown."""

import abc
import csv
import io
import json
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from drifting.core.files import write_atomically
from drifting.suites.suite import RunSpec

OUTCOME = ("status", "exit_code", "error")

Row = dict[str, Any]


class Programs(NamedTuple):
    """The commands that train and evaluate a run, in the repository's folder."""

    train: Sequence[str] = (sys.executable, "train.py")
    evaluate: Sequence[str] = (sys.executable, "evaluate.py")
    train_torch: Sequence[str] = (sys.executable, "scripts/reference_torch/train.py")

    def training(self, framework: str) -> Sequence[str]:
        """The command that trains with a framework."""
        return {"jax": self.train, "torch": self.train_torch}[framework]


class Table(abc.ABC):
    """A comparison of the runs of a suite, read from their folders.

    Args:
      runs: all runs of the suite, including those without a row.
      out: the folder of the suite.

    Raises:
      SuiteError: the runs are not comparable.
    """

    csv_name: ClassVar[str]  # the file with one row per run
    markdown_name: ClassVar[str]  # the table for people
    columns: Sequence[str]  # of the CSV

    def __init__(self, runs: Sequence[RunSpec], out: pathlib.Path):
        self.out = out
        self.runs = [run for run in runs if run.in_table]

    def commands(self, run: RunSpec, programs: Programs) -> list[list[str]]:
        """The commands still to run, each only if the previous one succeeds; they resume."""
        program = programs.training(run.framework)
        return [[*program, *run.train_arguments(self.workdir(run).absolute())]]

    def result(self, run: RunSpec) -> Row | None:
        """The numbers of a finished run; None if it is not finished."""
        return self._read_result(run) if run.in_table else read_test(self.workdir(run))

    def headline(self, run: RunSpec, result: Row) -> str:
        """A short description of a result."""
        if run.in_table:
            return self._headline(result)
        shown = {key: result[key] for key in ("accuracy", "loss") if key in result}
        return ", ".join(f"{key} {value:.4g}" for key, value in shown.items())

    def workdir(self, run: RunSpec) -> pathlib.Path:
        return self.out / run.name

    def read_outcomes(self) -> dict[str, Row]:
        """How runs ended in earlier sessions, by name: the cells of OUTCOME."""
        try:
            text = (self.out / self.csv_name).read_text()
            rows = list(csv.DictReader(io.StringIO(text)))
        except (FileNotFoundError, UnicodeDecodeError, csv.Error):
            return {}  # what is finished is read from the folders of the runs
        known = [row for row in rows if {"name", *OUTCOME} <= row.keys()]
        ended = [row for row in known if row["status"] != "missing"]
        return {row["name"]: {key: row[key] for key in OUTCOME} for row in ended}

    def outcome(self, run: RunSpec, ended: Mapping[str, Row]) -> Row:
        """The cells of OUTCOME, corrected by what is in the folder of the run."""
        outcome, finished = ended.get(run.name, {}), self.result(run) is not None
        if not finished and outcome.get("status") == "finished":  # its result was removed since
            outcome = {}
        return {**outcome, "status": "finished" if finished else outcome.get("status", "missing")}

    def write(self, ended: Mapping[str, Row]) -> None:
        """Writes all files of the table, each atomically.

        Args:
          ended: the cells of OUTCOME of runs that ended, by name.
        """
        rows = [
            {"name": run.name, **self._cells(run), **self.outcome(run, ended),
             "workdir": str(self.workdir(run))}
            for run in self.runs
        ]  # fmt: skip
        write_atomically(self.out / self.csv_name, to_csv(rows, self.columns))
        self._write_summary(rows)

    @abc.abstractmethod
    def _read_result(self, run: RunSpec) -> Row | None: ...

    @abc.abstractmethod
    def _headline(self, result: Row) -> str: ...

    @abc.abstractmethod
    def _cells(self, run: RunSpec) -> Row:
        """The row of a run without its name, outcome and workdir."""

    @abc.abstractmethod
    def _write_summary(self, rows: Sequence[Row]) -> None:
        """Writes the Markdown table and the picture."""


def read_test(workdir: pathlib.Path) -> Row | None:
    """The scores in test.json of a trained run; None if it cannot be read."""
    try:
        found = json.loads((workdir / "test.json").read_text())
    except (OSError, ValueError):
        return None
    return found if found and isinstance(found, dict) else None


def unfinished_lines(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line per unfinished run, with the exit code and error of a failed one."""
    return [
        f"{row['name']}: {row['status']}"
        + (f" (exit code {row['exit_code']}) {row['error']}" if row.get("error") else "")
        for row in rows
        if row["status"] != "finished"
    ]


def to_csv(rows: Iterable[Row], columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def to_markdown(
    header: Sequence[str], cells: Iterable[Sequence[Any]], caption: str, rows: Iterable[Row]
) -> bytes:
    """A table with a caption, followed by a list of unfinished runs, if any."""
    table = [header, ["---"] * len(header), *cells]
    lines = ["| " + " | ".join(map(str, line)) + " |" for line in table]
    unfinished = [f"- {line}" for line in unfinished_lines(rows)]
    lines += ["", caption, *(["", "Not finished:", "", *unfinished] if unfinished else []), ""]
    return "\n".join(lines).encode()

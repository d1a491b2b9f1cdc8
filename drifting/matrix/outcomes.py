"""How runs ended, as cells of a table that the next session reads again."""

import csv
import io
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from drifting.evaluation import report

OUTCOME = ("status", "exit_code", "error")

Row = dict[str, Any]


def read(table: pathlib.Path) -> dict[str, Row]:
    """How runs ended in earlier sessions, by name: the cells of OUTCOME."""
    rows = [row for row in report.read_rows(table) if row["status"] != "missing"]
    return {row["name"]: {key: row[key] for key in OUTCOME} for row in rows}


def cells(finished: bool, outcome: Mapping[str, Any]) -> Row:
    """The cells of OUTCOME, as the folder of the run shows it.

    Args:
      outcome: how the run ended, if it did.
    """
    if not finished and outcome.get("status") == "finished":  # since removed by somebody
        outcome = {}
    return {**outcome, "status": "finished" if finished else outcome.get("status", "missing")}


def unfinished_lines(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each run that is not finished, with its exit code and error if it failed."""
    return [
        f"{row['name']}: {row['status']}"
        + (f" (exit code {row['exit_code']}) {row['error']}" if row.get("error") else "")
        for row in rows
        if row["status"] != "finished"
    ]


def unfinished_markdown(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The lines as a list under a table; nothing where all runs are finished."""
    lines = unfinished_lines(rows)
    return ["", "Not finished:", "", *(f"- {line}" for line in lines)] if lines else []


def to_csv(rows: Iterable[Row], columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def to_markdown(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """The lines of a table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]

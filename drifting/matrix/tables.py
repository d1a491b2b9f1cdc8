"""The results of a matrix as CSV, Markdown and a picture."""

import csv
import io
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from drifting import pictures
from drifting.evaluation import report
from drifting.matrix.plan import MatrixRun
from drifting.matrix.workdirs import RESULTS, read_result

CELL = ("data_set", "model", "precision")
OUTCOME = ("status", "exit_code", "error")
COLUMNS = ("name", *CELL, "seed", "status", *RESULTS, "exit_code", "error", "workdir")
SUMMARY_COLUMNS = (
    *CELL, "n", "accuracy_mean", "accuracy_std", "accuracy_min", "accuracy_max",
    "macro_f1_mean", "macro_f1_std", "macro_f1_min", "macro_f1_max", "epoch_seconds_mean",
)  # fmt: skip

Row = dict[str, Any]


def read_outcomes(out: pathlib.Path) -> dict[str, Row]:
    """How runs ended in earlier sessions, by name: the cells of OUTCOME."""
    rows = [row for row in report.read_rows(out / "matrix.csv") if row["status"] != "missing"]
    return {row["name"]: {key: row[key] for key in OUTCOME} for row in rows}


def make_rows(
    runs: Iterable[MatrixRun], out: pathlib.Path, outcomes: Mapping[str, Row]
) -> list[Row]:
    """A row a run, by COLUMNS; what is finished is read from the runs' own files.

    Args:
      outcomes: how runs ended, by name: the cells of OUTCOME.
    """
    rows = []
    for run in runs:
        workdir = out / run.name
        result = read_result(workdir) or {}
        outcome = outcomes.get(run.name, {})
        if not result and outcome.get("status") == "finished":  # since removed by somebody
            outcome = {}
        status = "finished" if result else outcome.get("status", "missing")
        cell = {key: getattr(run, key) for key in (*CELL, "seed")}
        row = {"name": run.name, **cell, **outcome, **result, "status": status}
        rows.append(row | {"workdir": str(workdir)})
    return rows


def write(rows: Sequence[Row], out: pathlib.Path) -> None:
    """Writes matrix.csv, summary.csv, summary.md and matrix.png, each whole or not at all."""
    cells = summarize(rows)
    pictures.write_atomically(out / "matrix.csv", _csv(rows, COLUMNS))
    pictures.write_atomically(out / "summary.csv", _csv(cells, SUMMARY_COLUMNS))
    pictures.write_atomically(out / "summary.md", _markdown(cells, rows).encode())
    if any(cell["n"] for cell in cells):
        pictures.plot_spread(_accuracies(rows), out / "matrix.png", "test accuracy, %")


def summarize(rows: Iterable[Row]) -> list[Row]:
    """A row by SUMMARY_COLUMNS for each data set, model and precision, over finished runs.

    The deviation is that of a sample (n - 1), empty for fewer than two runs.
    """
    cells: dict[tuple, list[Row]] = {}
    for row in rows:
        cell = cells.setdefault(tuple(row[key] for key in CELL), [])
        if row["status"] == "finished":
            cell.append(row)
    summary = []
    for key, cell in cells.items():
        row = dict(zip(CELL, key, strict=True)) | {"n": len(cell)}
        if cell:
            row |= _statistics("accuracy", cell) | _statistics("macro_f1", cell)
            row["epoch_seconds_mean"] = statistics.fmean(r["epoch_seconds"] for r in cell)
        summary.append(row)
    return summary


def _statistics(key: str, rows: Sequence[Row]) -> dict[str, float]:
    values = [row[key] for row in rows]
    spread = {f"{key}_std": statistics.stdev(values)} if len(values) > 1 else {}
    extremes = {f"{key}_min": min(values), f"{key}_max": max(values)}
    return {f"{key}_mean": statistics.fmean(values), **spread, **extremes}


def unfinished_lines(rows: Iterable[Row]) -> list[str]:
    """A line for each run that is not finished, with its exit code and error if it failed."""
    return [
        f"{row['name']}: {row['status']}"
        + (f" (exit code {row['exit_code']}) {row['error']}" if row.get("error") else "")
        for row in rows
        if row["status"] != "finished"
    ]


def _csv(rows: Iterable[Row], columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _markdown(cells: Iterable[Row], rows: Iterable[Row]) -> str:
    """The summary for people: percentages, mean ± standard deviation (lowest to highest)."""
    lines = [
        "| data set | model | precision | runs | test accuracy, % | macro-F1, % | s an epoch |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cell in cells:
        seconds = f"{cell['epoch_seconds_mean']:.3g}" if cell["n"] else ""
        values = (*(cell[key] for key in CELL), cell["n"], _percentages("accuracy", cell),
                  _percentages("macro_f1", cell), seconds)  # fmt: skip
        lines.append("| " + " | ".join(map(str, values)) + " |")
    lines += ["", "Mean ± sample standard deviation over seeds (lowest to highest)."]
    unfinished = unfinished_lines(rows)
    if unfinished:
        lines += ["", "Not finished:", "", *(f"- {line}" for line in unfinished)]
    return "\n".join([*lines, ""])


def _percentages(key: str, cell: Row) -> str:
    if not cell["n"]:
        return ""
    mean, low, high = (f"{100 * cell[f'{key}_{part}']:.2f}" for part in ("mean", "min", "max"))
    if cell["n"] == 1:
        return mean
    return f"{mean} ± {100 * cell[f'{key}_std']:.2f} ({low} to {high})"


def _accuracies(rows: Iterable[Row]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Percentages by data set, precision and model, empty lists for what is not finished."""
    panels: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        series = panels.setdefault(row["data_set"], {}).setdefault(row["precision"], {})
        values = series.setdefault(row["model"], [])
        if row["status"] == "finished":
            values.append(100 * row["accuracy"])
    return panels

"""The results of a matrix as CSV, Markdown and a picture."""

import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence

from drifting import pictures
from drifting.core.files import write_atomically
from drifting.matrix import outcomes
from drifting.matrix.outcomes import Row
from drifting.matrix.plan import MatrixRun
from drifting.matrix.workdirs import RESULTS, read_result

CELL = ("data_set", "model", "precision")
COLUMNS = ("name", *CELL, "seed", "status", *RESULTS, "exit_code", "error", "workdir")
SUMMARY_COLUMNS = (
    *CELL, "n", "accuracy_mean", "accuracy_std", "accuracy_min", "accuracy_max",
    "macro_f1_mean", "macro_f1_std", "macro_f1_min", "macro_f1_max", "epoch_seconds_mean",
)  # fmt: skip


def make_rows(runs: Iterable[MatrixRun], out: pathlib.Path, ended: Mapping[str, Row]) -> list[Row]:
    """A row a run, by COLUMNS; what is finished is read from the runs' own files.

    Args:
      ended: how runs ended, by name: the cells of outcomes.OUTCOME.
    """
    rows = []
    for run in runs:
        workdir = out / run.name
        result = read_result(workdir) or {}
        cell = {key: vars(run)[key] for key in (*CELL, "seed")}
        outcome = outcomes.cells(bool(result), ended.get(run.name, {}))
        rows.append({"name": run.name, **cell, **result, **outcome, "workdir": str(workdir)})
    return rows


def write(rows: Sequence[Row], out: pathlib.Path) -> None:
    """Writes matrix.csv, summary.csv, summary.md and matrix.png, each whole or not at all."""
    cells = summarize(rows)
    write_atomically(out / "matrix.csv", outcomes.to_csv(rows, COLUMNS))
    write_atomically(out / "summary.csv", outcomes.to_csv(cells, SUMMARY_COLUMNS))
    write_atomically(out / "summary.md", _markdown(cells, rows).encode())
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


def _markdown(cells: Iterable[Row], rows: Iterable[Row]) -> str:
    """The summary for people: percentages, mean ± standard deviation (lowest to highest)."""
    header = ("data set", "model", "precision", "runs", "test accuracy, %", "macro-F1, %",
              "s an epoch")  # fmt: skip
    table = [
        (*(cell[key] for key in CELL), cell["n"], _percentages("accuracy", cell),
         _percentages("macro_f1", cell), f"{cell['epoch_seconds_mean']:.3g}" if cell["n"] else "")
        for cell in cells
    ]  # fmt: skip
    lines = outcomes.to_markdown(header, table)
    lines += ["", "Mean ± sample standard deviation over seeds (lowest to highest)."]
    return "\n".join([*lines, *outcomes.unfinished_markdown(rows), ""])


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

"""Test accuracies of classifiers: mean and spread over seeds.

Where not all runs are trained by JAX, the framework is one more column.
"""

import pathlib
import statistics
from collections.abc import Iterable, Sequence

from drifting import pictures
from drifting.core.files import write_atomically
from drifting.suites import tables
from drifting.suites.suite import RunSpec, SuiteError
from drifting.suites.tables import Row

CELL = ("data_set", "model", "precision")
LABELS = (*CELL, "seed")
# The keys that test.json needs to count as a result, in the order of the table.
RESULTS = ("accuracy", "val_accuracy", "macro_f1", "loss", "epoch_seconds", "parameters", "step")
SUMMARY = (
    "n", "accuracy_mean", "accuracy_std", "accuracy_min", "accuracy_max",
    "macro_f1_mean", "macro_f1_std", "macro_f1_min", "macro_f1_max", "epoch_seconds_mean",
)  # fmt: skip


class AccuracyTable(tables.Table):
    """matrix.csv, summary.csv, summary.md and matrix.png."""

    csv_name, markdown_name = "matrix.csv", "summary.md"

    def __init__(self, runs: Sequence[RunSpec], out: pathlib.Path):
        super().__init__(runs, out)
        compared = any(run.framework != "jax" for run in self.runs)
        self.cell = (*CELL, "framework") if compared else CELL
        self.columns = (
            "name", *self.cell, "seed", "status", *RESULTS, "exit_code", "error", "workdir"
        )  # fmt: skip
        for run in self.runs:
            lacking = [key for key in LABELS if key not in run.labels]
            if lacking:
                raise SuiteError(
                    f"{run.name!r} has no label {lacking[0]!r}; create it with matrix()"
                )

    def _cells(self, run: RunSpec) -> Row:
        labels = {key: run.labels[key] for key in LABELS}
        framework = {"framework": run.framework} if "framework" in self.cell else {}
        return {**labels, **framework, **(self.result(run) or {})}

    def _write_summary(self, rows: Sequence[Row]) -> None:
        cells = summarize(rows, self.cell)
        write_atomically(self.out / "summary.csv", tables.to_csv(cells, (*self.cell, *SUMMARY)))
        write_atomically(self.out / self.markdown_name, _markdown(cells, rows, self.cell))
        path = self.out / "matrix.png"
        if any(cell["n"] for cell in cells):
            with pictures.attempt(path):
                pictures.plot_spread(_accuracies(rows), path, "test accuracy, %")

    def _read_result(self, run: RunSpec) -> Row | None:
        found = tables.read_test(self.workdir(run)) or {}
        result = {key: found[key] for key in RESULTS if isinstance(found.get(key), int | float)}
        return result if len(result) == len(RESULTS) else None

    def _headline(self, result: Row) -> str:
        return f"accuracy {100 * result['accuracy']:.2f} %"


def summarize(rows: Iterable[Row], by: Sequence[str] = CELL) -> list[Row]:
    """One row of SUMMARY for each combination of the columns `by`, over finished runs.

    The standard deviation is that of a sample (n - 1), and empty for fewer than two runs.
    """
    cells: dict[tuple, list[Row]] = {}
    for row in rows:
        cell = cells.setdefault(tuple(row[key] for key in by), [])
        if row["status"] == "finished":
            cell.append(row)
    summary = []
    for key, cell in cells.items():
        row = dict(zip(by, key, strict=True)) | {"n": len(cell)}
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


def _markdown(cells: Iterable[Row], rows: Iterable[Row], by: Sequence[str]) -> bytes:
    header = (*(key.replace("_", " ") for key in by), "runs", "test accuracy, %", "macro-F1, %",
              "s per epoch")  # fmt: skip
    shown = [
        (*(cell[key] for key in by), cell["n"], _percentages("accuracy", cell),
         _percentages("macro_f1", cell), f"{cell['epoch_seconds_mean']:.3g}" if cell["n"] else "")
        for cell in cells
    ]  # fmt: skip
    caption = "Mean ± sample standard deviation over seeds (lowest to highest)."
    return tables.to_markdown(header, shown, caption, rows)


def _percentages(key: str, cell: Row) -> str:
    if not cell["n"]:
        return ""
    mean, low, high = (f"{100 * cell[f'{key}_{part}']:.2f}" for part in ("mean", "min", "max"))
    if cell["n"] == 1:
        return mean
    return f"{mean} ± {100 * cell[f'{key}_std']:.2f} ({low} to {high})"


def _accuracies(rows: Iterable[Row]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Percentages by data set, precision (and framework) and model, over finished runs."""
    panels: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        series = ", ".join(row[key] for key in ("precision", "framework") if key in row)
        panel = panels.setdefault(row["data_set"], {})
        values = panel.setdefault(series, {}).setdefault(row["model"], [])
        if row["status"] == "finished":
            values.append(100 * row["accuracy"])
    return panels

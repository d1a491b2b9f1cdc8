"""The points of one metric of a run, from its record of scores or from its metrics.jsonl."""

import pathlib
from collections import defaultdict
from typing import Any

from drifting.core.errors import ConfigError
from drifting.evaluation import metrics, record
from drifting.training import writers

# The columns that measure samples; training logs none of them.
SCORES = [column for metric in metrics.known().values() for column in metric.columns]
# Scores that differ in one of these are not comparable.
SETTINGS = record.SETTING

Points = list[tuple[float, float]]


class ComparisonError(ConfigError):
    """Runs that cannot be compared; the message says what is available."""


def read_points(run: pathlib.Path, metric: str) -> dict[tuple[str, ...], Points]:
    """The points (step, value) of a run's metric by group: scores by SETTINGS, others under ().

    Raises:
      ComparisonError: the run or the metric does not exist; the message lists those that do.
    """
    scores = record.read(run)
    logged = writers.read_metrics(run / "metrics.jsonl")
    if not scores and not logged and (run / "config.json").exists():
        raise ComparisonError(f"{run} has no metrics and no scores yet")
    if not scores and not logged:
        raise ComparisonError(f"{run} is not the workdir of a run{_near(run)}")
    groups = defaultdict(list)
    if metric in SCORES:
        for row in scores:
            if row["step"] is not None and row[metric] is not None:
                group = tuple(_text(row[key]) for key in SETTINGS)
                groups[group].append((row["step"], row[metric]))
    else:
        points = [(row["step"], row[metric]) for row in logged if _is_number(row.get(metric))]
        groups.update({(): points} if points else {})
    if not groups:
        scored = {key for row in scores for key in SCORES if row[key] is not None}
        there = scored | {key for row in logged for key in row if _is_number(row[key])} - {"step"}
        raise ComparisonError(f"{run} has no {metric}; it has {', '.join(sorted(there))}")
    return groups


def _near(run: pathlib.Path) -> str:
    files = ("metrics.jsonl", record.RECORD, record.TABLE)
    others = sorted(run.parent.glob("*"))
    runs = [str(other) for other in others if any((other / file).exists() for file in files)]
    return f"; runs next to it: {', '.join(runs)}" if runs else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _text(value: Any) -> str:
    """One text for equal numbers, 1 and 1.0; "" for None."""
    return f"{value:.10g}" if _is_number(value) else value or ""


def name_lines(
    runs: dict[str, dict[tuple[str, ...], Points]],
) -> tuple[dict[str, Points], list[str]]:
    """One line per run and group, named after the run and the settings that differ.

    Returns:
      The points by name, and the settings that differ between groups.
    """
    groups = [group for by_group in runs.values() for group in by_group]
    differing = [i for i, values in enumerate(zip(*groups, strict=True)) if len(set(values)) > 1]
    lines = {}
    for label, by_group in runs.items():
        for group, points in sorted(by_group.items()):
            parts = [f"{SETTINGS[i]} {group[i] or 'none'}" for i in differing]
            lines[", ".join([label, *parts])] = points
    return lines, [SETTINGS[i] for i in differing]

"""Plots one metric of several runs over training steps and prints its final values.

    python scripts/plot_runs.py runs/a runs/b --out comparison.png            # Frechet distance
    python scripts/plot_runs.py runs/a runs/b --out loss.png --metric loss --labels old,new

Scores come from a run's eval/scores.jsonl, everything else from its metrics.jsonl.
"""

import logging
import pathlib
from collections import defaultdict
from typing import Any

import numpy as np
from absl import flags

from drifting import cli, pictures
from drifting.core.errors import ConfigError
from drifting.evaluation import metrics, record
from drifting.training import writers

log = logging.getLogger("drifting")

OUT = flags.DEFINE_string("out", None, "Output file: PNG, JPEG or WebP by its suffix")
METRIC = flags.DEFINE_string(
    "metric", "frechet_distance", "Column of eval/scores.jsonl or key of metrics.jsonl"
)
LABELS = flags.DEFINE_list("labels", None, "One name per run; if not given, their folders' names")

# The columns that measure samples; training logs none of them.
SCORES = [column for metric in metrics.known().values() for column in metric.columns]
# Scores that differ in one of these are not comparable.
SETTINGS = tuple(key for key in record.KEY if key not in ("step", "seed"))

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


def final_table(lines: dict[str, Points], metric: str) -> str:
    """A Markdown table of the last step of each line and its mean value (over seeds) there."""
    rows = [f"| run | step | {metric} |", "| --- | --- | --- |"]
    for name, points in lines.items():
        last = max(step for step, _ in points)
        value = np.mean([value for step, value in points if step == last])
        rows.append(f"| {name} | {last:.0f} | {value:.5g} |")
    return "\n".join(rows)


def choose_labels(runs: list[str], labels: list[str] | None) -> list[str]:
    """Distinct names of the runs: `labels` if given, else folder names, else whole paths.

    Raises:
      ComparisonError: the number of labels is wrong, or two are equal.
    """
    if labels and len(labels) != len(runs):
        n = len(runs)
        given = f"--labels {','.join(labels)}"
        raise ComparisonError(f"{given}: {n} runs need {n} labels, not {len(labels)}")
    names = [pathlib.Path(run).resolve().name for run in runs]
    chosen = labels or (names if len(set(names)) == len(names) else runs)
    twice = [name for name in chosen if chosen.count(name) > 1]
    if twice:
        raise ComparisonError(f"two runs would be called {twice[0]}; give distinct --labels")
    return chosen


def compare(
    runs: list[str], out: str, metric: str = "frechet_distance", labels: list[str] | None = None
) -> None:
    """Plots the metric of all runs and prints its final values.

    Raises:
      ComparisonError: the runs cannot be compared; nothing is written.
    """
    if not runs:
        raise ComparisonError("name the workdirs of runs: plot_runs.py runs/a runs/b --out FILE")
    chosen = choose_labels(runs, labels)
    points = {n: read_points(pathlib.Path(r), metric) for n, r in zip(chosen, runs, strict=True)}
    lines, differing = name_lines(points)
    if differing:
        log.warning("scores of different %s are not comparable", ", ".join(differing))
    series = {name: tuple(zip(*sorted(values), strict=True)) for name, values in lines.items()}
    try:
        pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
        label = metric.replace("_", " ").replace("frechet", "Frechet")
        pictures.plot_lines(series, out, label, log_scale=metric == "frechet_distance")
    except OSError as error:
        raise ComparisonError(f"cannot write --out {out}: {error.strerror}") from error
    print(final_table(lines, metric))


def main(argv):
    compare(argv[1:], OUT.value, METRIC.value, LABELS.value)


if __name__ == "__main__":
    flags.mark_flag_as_required("out")
    cli.run(main, takes_words=True)

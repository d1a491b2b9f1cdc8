"""Plots one metric of several runs over training steps and prints its final values.

    python scripts/plot_runs.py runs/a runs/b --out comparison.png            # Frechet distance
    python scripts/plot_runs.py runs/a runs/b --out loss.png --metric loss --labels old,new

Scores come from a run's eval/scores.jsonl, everything else from its metrics.jsonl.
"""

import logging
import pathlib

import numpy as np
from absl import flags

from drifting import cli, pictures
from drifting.runs.points import ComparisonError, Points, name_lines, read_points

log = logging.getLogger("drifting")

OUT = flags.DEFINE_string("out", None, "Output file: PNG, JPEG or WebP by its suffix")
METRIC = flags.DEFINE_string(
    "metric", "frechet_distance", "Column of eval/scores.jsonl or key of metrics.jsonl"
)
LABELS = flags.DEFINE_list("labels", None, "One name per run; if not given, their folders' names")


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

"""Values over training steps: scores in one plot, metrics in panels."""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from drifting.pictures import figures

_MOST_DOTS = 60  # a longer line has none
_LEGEND_WIDTH = 90  # characters in a line of the legend


def plot_metric_vs_step(
    rows: Iterable[Mapping[str, Any]], path: str | os.PathLike, column: str
) -> None:
    """Draws a column of scores over training steps, on a log scale where all are positive.

    One line for each group of data set, split, features and their resize, guidance scale, sampler,
    weights and number of samples: scores of different groups are not comparable. Several seeds of
    one step are dots, and the line goes through their mean. Raises ValueError where no row has a
    step and a value.
    """
    groups: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row["step"] is not None and row[column] is not None:
            groups[_group_name(row)].append((row["step"], row[column]))
    if not groups:
        raise ValueError(f"no row has a step and a {column}: score a checkpoint first")
    positive = all(value > 0 for points in groups.values() for _, value in points)
    series = {name: tuple(zip(*points, strict=True)) for name, points in sorted(groups.items())}
    plot_lines(series, path, column.replace("_", " ").capitalize(), log_scale=positive)


def plot_lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    path: str | os.PathLike,
    ylabel: str,
    log_scale: bool = False,
) -> None:
    """Draws each named (steps [N], values [N]) as a line through the mean of each step.

    The values themselves are dots, unless there are so many that the dots would merge. Values that
    are not finite leave a gap.
    """
    figure = figures.make(7.0, 4.2)
    axes = figure.add_subplot()
    for name, points in series.items():
        steps, values = np.asarray(points, np.float64)
        values = np.where(np.isfinite(values), values, np.nan)
        ticks, where = np.unique(steps, return_inverse=True)
        means = np.bincount(where, values) / np.bincount(where)
        (line,) = axes.plot(ticks, means, linewidth=1.6, label=name)
        if len(steps) <= _MOST_DOTS:
            axes.plot(steps, values, ".", color=line.get_color(), markersize=6)
    axes.set(xlabel="training step", ylabel=ylabel, yscale="log" if log_scale else "linear")
    figures.tidy(axes)
    columns = min(4, max(1, _LEGEND_WIDTH // max(map(len, series))))
    figure.legend(loc="outside lower center", fontsize=8, frameon=False, ncols=columns)
    figures.save(figure, path)


def _group_name(row: Mapping[str, Any]) -> str:
    guidance = "no cfg" if row["cfg_scale"] is None else f"cfg {row['cfg_scale']}"
    samples = f"{row['num_samples']:,} samples" if row["num_samples"] else "samples unknown"
    split = " ".join(filter(None, (row["data_set"], row["split"])))
    features = " ".join(filter(None, (row["features"], row["fid_mode"])))
    sampler = [row["sampler"]] if row.get("sampler") else []
    return ", ".join((features, split, guidance, *sampler, row["weights"] or "", samples))


def plot_curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: str | os.PathLike
) -> None:
    """Draws each named (steps [N], values [N]) in its own small panel, side by side.

    `val_<name>`, measured on held-out images, and `<name>_real`, measured on real data instead of
    samples, share the panel of `<name>`. Values that are not finite leave a gap. Raises ValueError
    if there are no series.
    """
    if not series:
        raise ValueError("no series to draw")
    panels: dict[str, list[str]] = defaultdict(list)
    for name in series:
        panels[name.removeprefix("val_").removesuffix("_real")].append(name)
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = figures.make(3.4 * columns, 2.4 * rows)
    for place, (title, names) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        for name in names:
            steps, values = np.asarray(series[name], np.float64)
            label = _curve_label(name)
            axes.plot(steps, np.where(np.isfinite(values), values, np.nan), linewidth=1.2,
                      label=label)  # fmt: skip
        axes.set_title(title, fontsize=9, loc="left")
        axes.tick_params(labelsize=8)
        if place > len(panels) - columns:  # no panel below
            axes.set_xlabel("training step", fontsize=8)
        figures.tidy(axes)
        if len(names) > 1 or names[0].startswith("val_"):
            axes.legend(fontsize=7, frameon=False)
    figures.save(figure, path)


def _curve_label(name: str) -> str:
    """The label of a curve, which tells it from the other curves in its panel."""
    if name.startswith("val_"):
        return "held out"
    return "real data" if name.endswith("_real") else "training"

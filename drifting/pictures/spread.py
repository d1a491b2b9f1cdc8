"""Values that vary by chance, such as over seeds, with their means and standard deviations."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from drifting.pictures import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_spread(
    panels: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
    path: str | os.PathLike,
    ylabel: str,
) -> None:
    """Draws values [N], such as of seeds, by panel, series (colour) and category (along x).

    Each value is a pale dot, and their mean a diamond with an error bar of one sample standard
    deviation. Every panel has its own scale.
    """
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    labels = [label for panel in panels.values() for series in panel.values() for label in series]
    room = 0.12 + max(0.45 * len(names), *(0.08 * len(label) for label in labels))  # inches
    columns, widest = min(3, len(panels)), max(len(next(iter(p.values()))) for p in panels.values())
    rows = math.ceil(len(panels) / columns)
    figure = figures.make(columns * max(2.6, 0.7 + room * widest), 0.5 + 2.9 * rows)
    for place, (title, panel) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        _draw_spread(axes, panel, names)
        axes.set_title(title, fontsize=9, loc="left")
        if place % columns == 1 % columns:
            axes.set_ylabel(ylabel, fontsize=8)
    handles = {h.get_label(): h for axes in figure.axes for h in axes.containers}
    figure.legend(
        handles.values(), handles, loc="outside lower center", fontsize=8, frameon=False,
        ncols=len(handles), title="mean ± standard deviation", title_fontsize=8,
    )  # fmt: skip
    figures.save(figure, path)


def _draw_spread(
    axes: "Axes", panel: Mapping[str, Mapping[str, Sequence[float]]], names: Sequence[str]
) -> None:
    """Draws one panel; a series has its colour and its shift along x by its place in `names`."""
    categories = list(dict.fromkeys(label for series in panel.values() for label in series))
    apart = 0.6 / len(names)
    for series, by_category in panel.items():
        turn = names.index(series)
        places = [(categories.index(c), v) for c, v in by_category.items() if len(v)]
        shift = (turn - (len(names) - 1) / 2) * apart
        for x, values in places:
            seeds = np.full(len(values), x + shift - 0.15 * apart)  # left of their mean
            axes.plot(seeds, values, ".", color=f"C{turn}", alpha=0.5, markersize=5)
        x = [x + shift + 0.15 * apart for x, _ in places]
        means = [np.mean(values) for _, values in places]
        spreads = [np.std(values, ddof=1) if len(values) > 1 else 0.0 for _, values in places]
        axes.errorbar(
            x, means, spreads, fmt="D", color=f"C{turn}", markersize=4, capsize=3, linewidth=1.2,
            label=series,
        )  # fmt: skip
    figures.tidy(axes)
    if not any(map(len, (values for series in panel.values() for values in series.values()))):
        axes.set_yticks([])  # no values, so no scale
    axes.set_xticks(range(len(categories)), categories, fontsize=8)
    axes.set_xlim(-0.5, len(categories) - 0.5)
    axes.tick_params(labelsize=8)
    axes.grid(visible=False, axis="x")

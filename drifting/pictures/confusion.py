"""The confusion matrix of a classifier."""

import os
from collections.abc import Sequence

import numpy as np

from drifting.pictures import figures

_MOST_LABELS = 20  # with more classes, names and numbers are left out


def plot_confusion(counts: np.ndarray, class_names: Sequence[str], path: str | os.PathLike) -> None:
    """Draws counts [K, K], true class by predicted class, as shares of each true class in %.

    With up to 20 classes the shares are written into the cells, and the class names on the axes.
    """
    counts = np.asarray(counts)
    shares = 100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    few = len(counts) <= _MOST_LABELS
    side = 1.6 + 0.42 * len(counts) if few else 6.0
    figure = figures.make(side, side)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=100.0)
    axes.set(xlabel="predicted", ylabel="true class")
    hits = np.trace(counts) / max(counts.sum(), 1)
    axes.set_title(f"accuracy {hits:.1%}, % of each true class", fontsize=9, loc="left")
    if few:
        axes.set_xticks(range(len(counts)), class_names, fontsize=8, rotation=45, ha="right")
        axes.set_yticks(range(len(counts)), class_names, fontsize=8)
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 60 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=7,
                      color=colour)  # fmt: skip
    figures.save(figure, path)

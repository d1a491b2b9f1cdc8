"""What all plots share: how a figure is created, simplified and saved."""

import os
from typing import TYPE_CHECKING

from drifting.pictures import formats

if TYPE_CHECKING:  # matplotlib takes half a second to import, and most runs plot nothing
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def make(width: float, height: float, dpi: int = 120) -> "Figure":
    """An empty figure of width x height inches."""
    # Without pyplot, which keeps every figure alive and may need a display.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def tidy(axes: "Axes") -> None:
    """Removes the frame, adds a pale grid, and labels steps as 5k and 1M so that they fit."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6, which="both")


def save(figure: "Figure", path: str | os.PathLike) -> None:
    """Saves a figure; see `formats.save`."""
    formats.save(
        path, lambda file, kind, options: figure.savefig(file, format=kind, pil_kwargs=options)
    )

"""What all plots share: how a figure is created, simplified and saved."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from drifting.pictures import formats

if TYPE_CHECKING:  # matplotlib takes half a second to import, and most runs plot nothing
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


def make(
    width: float, height: float, dpi: int = 120, layout: str | None = "constrained"
) -> "Figure":
    """An empty figure of width x height inches, whose axes are placed by a layout or by hand."""
    # Without pyplot, which keeps every figure alive and may need a display.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=dpi, layout=layout)


def tidy(axes: "Axes") -> None:
    """Removes the frame, adds a pale grid, and labels steps as 5k and 1M so that they fit.

    Ticks of log scales have labels also between powers of ten.
    """
    from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator

    locator, steps = MaxNLocator(5, integer=True), EngFormatter(sep="")
    first, last = axes.get_xlim()
    if axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(steps)
    elif last > 2 * first:
        _label_log_ticks(axes.xaxis, steps)
    else:  # log scales have hardly any ticks there
        axes.xaxis.set(major_locator=locator, major_formatter=steps, minor_locator=NullLocator())
    if axes.get_yscale() == "log":
        _label_log_ticks(axes.yaxis, "{:.10g}".format)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6, which="both")


def _label_log_ticks(axis: "Axis", label: Callable[[float], str]) -> None:
    """Labels ticks of a log scale, also between powers of ten, as 20 or 0.031."""
    from matplotlib.ticker import LogFormatter

    class Labels(LogFormatter):  # LogFormatter chooses the ticks with a label, but rounds 0.031
        def __call__(self, value, position=None):
            return label(value) if super().__call__(value, position) else ""

    axis.set_major_formatter(lambda value, position: label(value))
    axis.set_minor_formatter(Labels(minor_thresholds=(2.0, 0.5)))
    axis.set_tick_params(which="minor", labelsize=8)


def save(figure: "Figure", path: str | os.PathLike) -> None:
    """Saves a figure; see `formats.save`."""
    formats.save(
        path, lambda file, kind, options: figure.savefig(file, format=kind, pil_kwargs=options)
    )

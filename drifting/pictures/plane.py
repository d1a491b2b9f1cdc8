"""Points, fields and paths in the plane, in panels of equal axes."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from drifting.pictures import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.quiver import Quiver

GOAL, POINTS = "0.72", "C3"  # colours: where points should go, and they
_NOISE = "C0"  # colour of points at the beginning of their way
_LEAST_REAL = 1000  # points that say where samples should be
_MOST_PATHS = 300  # lines of a picture


def plot_points(points: np.ndarray, reference: np.ndarray | None, path: str | os.PathLike) -> None:
    """Draws samples [N, 2] over the first of real points [M, 2], pale: as many, or 1,000 of few.

    The plane that is shown is that of the real points, where they are given; how many samples are
    outside is said.
    """
    reference = points if reference is None else reference[: max(len(points), _LEAST_REAL)]
    figure, (axes,) = planes([""], 1, 4.5, reference)
    size = 6.0 if len(points) <= 500 else 3.0
    axes.plot(*reference.T, ".", color=GOAL, markersize=size)
    axes.plot(*points.T, ".", color=POINTS, markersize=size)
    low, high = np.transpose([axes.get_xlim(), axes.get_ylim()])
    outside = int(np.sum(np.any((points < low[None]) | (points > high[None]), axis=1)))
    beyond = f", {outside:,} outside" if outside else ""
    axes.set_title(f"{len(points):,} samples{beyond}", fontsize=9, loc="left")
    figures.save(figure, path)


class VectorField(NamedTuple):
    """Arrows at places of the plane, and two sets of dots there.

    Attributes:
      places, arrows: [G, 2].
      points: [N, 2].
      goal: [M, 2], drawn pale.
    """

    places: np.ndarray
    arrows: np.ndarray
    points: np.ndarray
    goal: np.ndarray


def plot_vector_fields(
    panels: Mapping[str, VectorField], path: str | os.PathLike, columns: int, length_name: str
) -> None:
    """Draws fields in panels of equal axes, `columns` in a row.

    Arrows are of one length, so that weak ones have a direction too; the colour is the length.
    """
    everything = np.concatenate([s for f in panels.values() for s in (f.places, f.points, f.goal)])
    figure, all_axes = planes(list(panels), columns, 2.9, everything)
    colours = colours_of_lengths([field.arrows for field in panels.values()])
    for axes, field in zip(all_axes, panels.values(), strict=True):
        axes.plot(*field.goal.T, ".", color=GOAL, markersize=5)
        arrows = draw_arrows(axes, field.places, field.arrows, colours)
        axes.plot(*field.points.T, ".", color=POINTS, markersize=4)
    add_length_bar(figure, arrows, all_axes, length_name)
    figures.save(figure, path)


def colours_of_lengths(arrows: Iterable[np.ndarray]) -> "Normalize":
    """The scale of colours for arrows, each [..., 2]: the longest 2 % of all share the last one."""
    from matplotlib.colors import PowerNorm

    lengths = np.concatenate([np.linalg.norm(a, axis=-1).ravel() for a in arrows])
    return PowerNorm(0.5, 0.0, np.percentile(lengths, 98))  # weak ones differ as well


def draw_arrows(
    axes: "Axes", places: np.ndarray, arrows: np.ndarray, colours: "Normalize"
) -> "Quiver":
    """Arrows [G, 2] of one length about their places [G, 2]; `turn_arrows` changes them."""
    nothing = np.zeros(len(places))
    drawn = axes.quiver(
        *places.T, nothing, nothing, nothing, cmap="viridis", norm=colours,
        pivot="mid", angles="xy", scale=24, width=0.005,
    )  # fmt: skip
    turn_arrows(drawn, arrows)
    return drawn


def turn_arrows(drawn: "Quiver", arrows: np.ndarray) -> None:
    """Shows other arrows [G, 2] at the same places: their directions, and lengths as colours."""
    lengths = np.linalg.norm(arrows, axis=-1)
    drawn.set_UVC(*(arrows / np.maximum(lengths, 1e-12)[:, None]).T, lengths)


def add_length_bar(
    figure: "Figure", arrows: "Quiver", all_axes: "Sequence[Axes]", name: str
) -> None:
    """The scale of the arrows' colours, beside all panels."""
    bar = figure.colorbar(arrows, ax=all_axes, extend="max", shrink=0.7, aspect=30)
    bar.set_label(name, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def plot_paths(
    ways: Mapping[str, np.ndarray],
    goal: np.ndarray,
    plane: np.ndarray,
    path: str | os.PathLike,
) -> None:
    """Draws ways [T, N, 2] of points as lines, a panel each, from where they begin to their end.

    Of more than 300 points the first are drawn.

    Args:
      goal: [M, 2], drawn pale.
      plane: points [P, 2] around which the plane is shown, and the rest is cut off.
    """
    figure, all_axes = planes(list(ways), len(ways), 3.6, plane)
    for axes, way in zip(all_axes, ways.values(), strict=True):
        way = way[:, :_MOST_PATHS]
        axes.plot(*goal.T, ".", color=GOAL, markersize=3)
        axes.plot(*way.transpose(2, 0, 1), color="black", alpha=0.3, linewidth=0.6)
        axes.plot(*way[0].T, ".", color=_NOISE, markersize=3, label="noise")
        axes.plot(*way[-1].T, ".", color=POINTS, markersize=3, label="samples")
    handles = all_axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", fontsize=8, frameon=False, ncols=2)
    figures.save(figure, path)


def planes(
    titles: Sequence[str], columns: int, side: float, everything: np.ndarray, dpi: int = 120
) -> "tuple[Figure, list[Axes]]":
    """Panels that all show the plane around `everything` [N, 2], with equal axes."""
    low, high = everything.min(axis=0), everything.max(axis=0)
    margin = 0.04 * (high - low).max()
    shape = (high - low + 2 * margin)[1] / (high - low + 2 * margin)[0]
    rows = math.ceil(len(titles) / columns)
    figure = figures.make(side * columns + 0.6, (side * shape + 0.2) * rows + 0.2, dpi)
    figure.set_layout_engine("compressed")  # no gaps between panels of a fixed shape
    axes = [figure.add_subplot(rows, columns, place + 1) for place in range(len(titles))]
    for title, one in zip(titles, axes, strict=True):
        one.set(xlim=(low[0] - margin, high[0] + margin), ylim=(low[1] - margin, high[1] + margin))
        one.set_aspect("equal")
        one.set_title(title, fontsize=9, loc="left")
        one.tick_params(labelsize=7)
        one.label_outer()
    return figure, axes

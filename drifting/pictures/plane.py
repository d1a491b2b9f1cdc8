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

GOAL, POINTS = "0.72", "C3"  # colours of real points, and of generated ones
_NOISE = "C0"  # colour of points at the start of their path
_LEAST_REAL = 1000  # real points drawn behind fewer samples
_MOST_PATHS = 300  # lines per panel


def plot_points(points: np.ndarray, reference: np.ndarray | None, path: str | os.PathLike) -> None:
    """Draws samples [N, 2] over the first max(N, 1,000) of real points [M, 2], which are pale.

    The axes cover the real points, if they are given; the title tells how many samples are outside.
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
    """Arrows at places in the plane, and two sets of points.

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

    All arrows have one length, so that weak ones show their direction; colours tell the lengths.
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
    """The colour scale of arrows, each [..., 2]; the longest 2 % share its last colour."""
    from matplotlib.colors import PowerNorm

    lengths = np.concatenate([np.linalg.norm(a, axis=-1).ravel() for a in arrows])
    return PowerNorm(0.5, 0.0, np.percentile(lengths, 98))  # the root tells weak ones apart


def draw_arrows(
    axes: "Axes", places: np.ndarray, arrows: np.ndarray, colours: "Normalize"
) -> "Quiver":
    """Draws arrows [G, 2] of one length, centred on places [G, 2]; `turn_arrows` updates them."""
    nothing = np.zeros(len(places))
    drawn = axes.quiver(
        *places.T, nothing, nothing, nothing, cmap="viridis", norm=colours,
        pivot="mid", angles="xy", scale=24, width=0.005,
    )  # fmt: skip
    turn_arrows(drawn, arrows)
    return drawn


def turn_arrows(drawn: "Quiver", arrows: np.ndarray) -> None:
    """Updates drawn arrows to [G, 2] at the same places: directions, and colours by length."""
    lengths = np.linalg.norm(arrows, axis=-1)
    drawn.set_UVC(*(arrows / np.maximum(lengths, 1e-12)[:, None]).T, lengths)


def add_length_bar(
    figure: "Figure", arrows: "Quiver", all_axes: "Sequence[Axes]", name: str
) -> None:
    """Adds the colour scale of the arrows, next to all panels."""
    bar = figure.colorbar(arrows, ax=all_axes, extend="max", shrink=0.7, aspect=30)
    bar.set_label(name, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def plot_paths(
    paths: Mapping[str, np.ndarray],
    goal: np.ndarray,
    plane: np.ndarray,
    path: str | os.PathLike,
) -> None:
    """Draws paths [T, N, 2] of points as lines from start to end, with one panel per name.

    Only the first 300 points are drawn.

    Args:
      goal: [M, 2], drawn pale.
      plane: points [P, 2] that the axes cover; what is outside is cut off.
    """
    figure, all_axes = planes(list(paths), len(paths), 3.6, plane)
    for axes, states in zip(all_axes, paths.values(), strict=True):
        states = states[:, :_MOST_PATHS]
        axes.plot(*goal.T, ".", color=GOAL, markersize=3)
        axes.plot(*states.transpose(2, 0, 1), color="black", alpha=0.3, linewidth=0.6)
        axes.plot(*states[0].T, ".", color=_NOISE, markersize=3, label="noise")
        axes.plot(*states[-1].T, ".", color=POINTS, markersize=3, label="samples")
    handles = all_axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", fontsize=8, frameon=False, ncols=2)
    figures.save(figure, path)


def planes(
    titles: Sequence[str], columns: int, side: float, everything: np.ndarray, dpi: int = 120
) -> "tuple[Figure, list[Axes]]":
    """A figure with one panel per title, all with equal axes that cover `everything` [N, 2]."""
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

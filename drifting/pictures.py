"""Pictures for people, as PNG: grids of images, scores, training curves, points of the plane."""

import io
import math
import os
import pathlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from drifting.core.files import write_atomically

if TYPE_CHECKING:  # matplotlib takes half a second to import, and most runs plot nothing
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.quiver import Quiver

    from input_pipeline.space import Space

_GRID_WIDTH = 400  # pixels, at least
FONT_SIZE = 13
_MOST_LABELS = 20  # classes of a confusion matrix with names and numbers
INK = (60, 60, 60)
_MOST_DOTS = 60  # of a line
_LEGEND_WIDTH = 90  # letters of a line of names
_LEAST_REAL = 1000  # points that say where samples should be
_MOST_PATHS = 300  # lines of a picture
GOAL, POINTS = "0.72", "C3"  # colours: where points should go, and they
_NOISE = "C0"  # colour of points at the beginning of their way


def save_grid(
    images: np.ndarray,
    path: str | os.PathLike,
    row_headings: Sequence[str] = (),
    column_headings: Sequence[str] = (),
    width: int = _GRID_WIDTH,
) -> None:
    """Saves `grid_picture` of images uint8 [rows, columns, H, W, C] as PNG."""
    _save_picture(grid_picture(images, row_headings, column_headings, width), path)


def grid_picture(
    images: np.ndarray,
    row_headings: Sequence[str] = (),
    column_headings: Sequence[str] = (),
    width: int = _GRID_WIDTH,
) -> Image.Image:
    """Images uint8 [rows, columns, H, W, C], C = 1 or 3, in one picture with thin gaps.

    They are enlarged by a whole factor, each pixel a square, to `width` pixels or more in all.
    Raises ValueError for another dtype or shape, and for headings that are not one a row or one a
    column.
    """
    if images.dtype != np.uint8 or images.ndim != 5 or images.shape[-1] not in (1, 3):
        raise ValueError(
            "a grid needs uint8 images [rows, columns, H, W, C] with C = 1 or 3, "
            f"got {images.dtype} {images.shape}"
        )
    rows, columns = images.shape[:2]
    for headings, count in ((row_headings, rows), (column_headings, columns)):
        if len(headings) not in (0, count):
            raise ValueError(f"{len(headings)} headings for {count} rows or columns: {headings}")
    scale = max(1, math.ceil(width / (columns * images.shape[3])))
    canvas, gap = _tiled(images, scale)
    return _with_headings(canvas, gap, rows, columns, row_headings, column_headings)


def save_samples(
    samples: np.ndarray,
    labels: np.ndarray,
    space: "Space",
    out: str | os.PathLike,
    reference: np.ndarray | None = None,
) -> None:
    """Saves samples with int32 labels [N] in the form that `out` asks for.

    Images uint8 [N, H, W, C]. X.png: a grid, ten to a row. X.npz: arrays `images` and `labels`.
    Anything else: a folder of PNG files <number>_<label>.png.

    Points float32 [N, 2]. X.png: a scatter plot, over the real points `reference` [M, 2] where
    they are given. X.npz: arrays `points` and `labels`. Anything else: a folder with points.npz.

    Args:
      space: what the samples are.
    """
    from input_pipeline.space import Points  # imports JAX, which no other picture needs

    out = pathlib.Path(out)
    of_points = isinstance(space, Points)
    if of_points and out.suffix not in (".png", ".npz"):
        out = out / "points.npz"
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npz":
        content = io.BytesIO()
        arrays = {"points" if of_points else "images": samples}
        np.savez_compressed(content, **arrays, labels=np.asarray(labels, np.int32))
        write_atomically(out, content.getvalue())
    elif of_points:
        plot_points(samples, reference, out)
    elif out.suffix == ".png":
        save_grid(_in_rows(samples, min(10, len(samples))), out)
    else:
        out.mkdir(exist_ok=True)
        for i, (image, label) in enumerate(zip(samples, labels, strict=True)):
            pixels = image[..., 0] if image.shape[-1] == 1 else image
            _save_picture(Image.fromarray(pixels), out / f"{i:06d}_{label}.png")


def _in_rows(images: np.ndarray, columns: int) -> np.ndarray:
    """[N, ...] as [rows, columns, ...], the last row filled up with white."""
    rows = math.ceil(len(images) / columns)
    grid = np.full((rows * columns, *images.shape[1:]), 255, np.uint8)
    grid[: len(images)] = images
    return grid.reshape(rows, columns, *images.shape[1:])


def _tiled(images: np.ndarray, scale: int) -> tuple[Image.Image, int]:
    """The enlarged images on white with a gap of `gap` pixels around each; returns it and gap."""
    images = images.repeat(scale, axis=2).repeat(scale, axis=3)
    rows, columns, height, width, channels = images.shape
    gap = max(1, min(height, width) // 24)
    padded = np.full((rows, columns, height + gap, width + gap, channels), 255, np.uint8)
    padded[:, :, :height, :width] = images
    sheet = padded.transpose(0, 2, 1, 3, 4).reshape(rows * (height + gap), -1, channels)
    sheet = np.pad(sheet, ((gap, 0), (gap, 0), (0, 0)), constant_values=255)
    return Image.fromarray(np.broadcast_to(sheet, (*sheet.shape[:2], 3)).copy()), gap


def _with_headings(
    sheet: Image.Image,
    gap: int,
    rows: int,
    columns: int,
    row_headings: Sequence[str],
    column_headings: Sequence[str],
) -> Image.Image:
    """The sheet with headings to its left and above it, each centred on its row or column."""
    font = ImageFont.load_default(FONT_SIZE)
    left = math.ceil(max(map(font.getlength, row_headings))) + 10 if row_headings else 0
    top = FONT_SIZE + 8 if column_headings else 0
    picture = Image.new("RGB", (left + sheet.width, top + sheet.height), "white")
    picture.paste(sheet, (left, top))
    draw = ImageDraw.Draw(picture)
    high, wide = (sheet.height - gap) / rows, (sheet.width - gap) / columns
    for row, text in enumerate(row_headings):
        place = (left - 4, top + gap / 2 + (row + 0.5) * high)
        draw.text(place, text, fill=INK, font=font, anchor="rm")
    for column, text in enumerate(column_headings):
        place = (left + gap / 2 + (column + 0.5) * wide, top / 2 + 2)
        draw.text(place, text, fill=INK, font=font, anchor="mm")
    return picture


def plot_metric_vs_step(rows: Iterable[Mapping[str, str]], path: str | os.PathLike) -> None:
    """Draws the Frechet distance over training steps from rows of fid_metrics.csv.

    One line for each group of data set, split, features and their resize, guidance scale, sampler,
    weights and number of samples: scores of different groups are not comparable. Several seeds of
    one step are dots, and the line goes through their mean. Raises ValueError where no row has a
    Frechet distance.
    """
    groups: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row["step"] and row["frechet_distance"]:
            groups[_group_name(row)].append((float(row["step"]), float(row["frechet_distance"])))
    if not groups:
        raise ValueError("no row has a step and a Frechet distance: score a checkpoint first")
    series = {name: tuple(zip(*points, strict=True)) for name, points in sorted(groups.items())}
    plot_lines(series, path, "Frechet distance", log_scale=True)


def plot_lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    path: str | os.PathLike,
    ylabel: str,
    log_scale: bool = False,
) -> None:
    """Draws each named (steps [N], values [N]) as a line of one plot, through the mean of a step.

    The values themselves are dots, unless they are so many that dots would be a band. Values that
    are not finite leave a gap.
    """
    figure = _figure(7.0, 4.2)
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
    if log_scale:
        _plain_log_ticks(axes)
    _tidy(axes)
    columns = min(4, max(1, _LEGEND_WIDTH // max(map(len, series))))
    figure.legend(loc="outside lower center", fontsize=8, frameon=False, ncols=columns)
    _save_figure(figure, path)


def _group_name(row: Mapping[str, str]) -> str:
    guidance = f"cfg {row['cfg_scale']}" if row["cfg_scale"] else "no cfg"
    samples = f"{int(row['num_samples']):,} samples" if row["num_samples"] else "samples unknown"
    split = " ".join(filter(None, (row["data_set"], row["split"])))
    features = " ".join(filter(None, (row["features"], row["fid_mode"])))
    sampler = [row["sampler"]] if row.get("sampler") else []
    return ", ".join((features, split, guidance, *sampler, row["weights"], samples))


def plot_curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: str | os.PathLike
) -> None:
    """Draws each named (steps [N], values [N]) in a small panel of its own, side by side.

    `val_<name>`, measured on held-out images, and `<name>_real`, of real data in the samples'
    place, share the panel of `<name>`. Values that are not finite leave a gap. Raises ValueError
    for no series.
    """
    if not series:
        raise ValueError("no series to draw")
    panels: dict[str, list[str]] = defaultdict(list)
    for name in series:
        panels[name.removeprefix("val_").removesuffix("_real")].append(name)
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = _figure(3.4 * columns, 2.4 * rows)
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
        _tidy(axes)
        if len(names) > 1 or names[0].startswith("val_"):
            axes.legend(fontsize=7, frameon=False)
    _save_figure(figure, path)


def _curve_label(name: str) -> str:
    """Beside the other curve of its panel."""
    if name.startswith("val_"):
        return "held out"
    return "real data" if name.endswith("_real") else "training"


def plot_confusion(
    counts: np.ndarray, class_names: Sequence[str], path: str | os.PathLike
) -> None:
    """Draws counts [K, K], true class by predicted class, as shares of each true class in %.

    The shares are written into the cells, and the classes beside them, where there is room: up to
    20 classes.
    """
    counts = np.asarray(counts)
    shares = 100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    few = len(counts) <= _MOST_LABELS
    side = 1.6 + 0.42 * len(counts) if few else 6.0
    figure = _figure(side, side)
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
    _save_figure(figure, path)


def plot_spread(
    panels: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
    path: str | os.PathLike,
    ylabel: str,
) -> None:
    """Draws values [N] by panel, series (a colour each) and category (along x), such as seeds.

    Each value is a pale dot, their mean a diamond with an error bar of one sample standard
    deviation. Every panel has its own scale.
    """
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    labels = [label for panel in panels.values() for series in panel.values() for label in series]
    room = 0.12 + max(0.45 * len(names), *(0.08 * len(label) for label in labels))  # inches
    columns, widest = min(3, len(panels)), max(len(next(iter(p.values()))) for p in panels.values())
    rows = math.ceil(len(panels) / columns)
    figure = _figure(columns * max(2.6, 0.7 + room * widest), 0.5 + 2.9 * rows)
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
    _save_figure(figure, path)


def _draw_spread(
    axes: "Axes", panel: Mapping[str, Mapping[str, Sequence[float]]], names: Sequence[str]
) -> None:
    """One panel; `names` of all series give each its colour and its place beside the others."""
    categories = list(dict.fromkeys(label for series in panel.values() for label in series))
    apart = 0.6 / len(names)
    for series, by_category in panel.items():
        turn = names.index(series)
        places = [(categories.index(c), v) for c, v in by_category.items() if len(v)]
        shift = (turn - (len(names) - 1) / 2) * apart
        for x, values in places:
            seeds = np.full(len(values), x + shift - 0.15 * apart)  # beside their mean
            axes.plot(seeds, values, ".", color=f"C{turn}", alpha=0.5, markersize=5)
        x = [x + shift + 0.15 * apart for x, _ in places]
        means = [np.mean(values) for _, values in places]
        spreads = [np.std(values, ddof=1) if len(values) > 1 else 0.0 for _, values in places]
        axes.errorbar(
            x, means, spreads, fmt="D", color=f"C{turn}", markersize=4, capsize=3, linewidth=1.2,
            label=series,
        )  # fmt: skip
    _tidy(axes)
    axes.set_xticks(range(len(categories)), categories, fontsize=8)
    axes.set_xlim(-0.5, len(categories) - 0.5)
    axes.tick_params(labelsize=8)
    axes.grid(visible=False, axis="x")


def plot_points(
    points: np.ndarray, reference: np.ndarray | None, path: str | os.PathLike
) -> None:
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
    _save_figure(figure, path)


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
    _save_figure(figure, path)


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
    _save_figure(figure, path)


def planes(
    titles: Sequence[str], columns: int, side: float, everything: np.ndarray, dpi: int = 120
) -> "tuple[Figure, list[Axes]]":
    """Panels that all show the plane around `everything` [N, 2], with equal axes."""
    low, high = everything.min(axis=0), everything.max(axis=0)
    margin = 0.04 * (high - low).max()
    shape = (high - low + 2 * margin)[1] / (high - low + 2 * margin)[0]
    rows = math.ceil(len(titles) / columns)
    figure = _figure(side * columns + 0.6, (side * shape + 0.2) * rows + 0.2, dpi)
    figure.set_layout_engine("compressed")  # no gaps between panels of a fixed shape
    axes = [figure.add_subplot(rows, columns, place + 1) for place in range(len(titles))]
    for title, one in zip(titles, axes, strict=True):
        one.set(xlim=(low[0] - margin, high[0] + margin), ylim=(low[1] - margin, high[1] + margin))
        one.set_aspect("equal")
        one.set_title(title, fontsize=9, loc="left")
        one.tick_params(labelsize=7)
        one.label_outer()
    return figure, axes


def _figure(width: float, height: float, dpi: int = 120) -> "Figure":
    # The figure object alone: pyplot keeps every figure alive and may ask for a display.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def _plain_log_ticks(axes: "Axes") -> None:
    """Distances as people write them, 20 or 0.031, between the powers of ten as well."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):  # it chooses which ticks have room for a label, and rounds 0.031
        def __call__(self, value, position=None):
            return f"{value:.4g}" if super().__call__(value, position) else ""

    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(Plain(minor_thresholds=(2.0, 0.5)))
    axes.tick_params(axis="y", which="minor", labelsize=8)


def _tidy(axes: "Axes") -> None:
    """Few lines of scaffold, and steps as 5k and 1M so that their labels never touch."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6, which="both")


def _save_figure(figure: "Figure", path: str | os.PathLike) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(path, content.getvalue())


def _save_picture(picture: Image.Image, path: str | os.PathLike) -> None:
    content = io.BytesIO()
    picture.save(content, format="PNG", optimize=True)
    write_atomically(path, content.getvalue())

"""Pictures for people: grids of images, scores and training curves as PNG, moving points as GIF."""

import io
import math
import os
import pathlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:  # matplotlib takes half a second to import, and most runs plot nothing
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GRID_WIDTH = 400  # pixels, at least
_FONT_SIZE = 13
_MOST_LABELS = 20  # classes of a confusion matrix with names and numbers
_INK = (60, 60, 60)
_MOST_DOTS = 60  # of a line
_LEGEND_WIDTH = 90  # letters of a line of names
_GOAL, _POINTS = "0.72", "C3"  # colours: where points should go, and they


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Writes the file whole or not at all: a reader never sees a part of it."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_grid(
    images: np.ndarray,
    path: str | os.PathLike,
    row_headings: Sequence[str] = (),
    column_headings: Sequence[str] = (),
) -> None:
    """Saves images uint8 [rows, columns, H, W, C], C = 1 or 3, as one PNG with thin gaps.

    Small images are enlarged by a whole factor, each pixel a square. Raises ValueError for another
    dtype or shape, and for headings that are not one a row or one a column.
    """
    if images.dtype != np.uint8 or images.ndim != 5 or images.shape[-1] not in (1, 3):
        raise ValueError(
            "a grid needs uint8 images [rows, columns, H, W, C] with C = 1 or 3, "
            f"got {images.dtype} {images.shape}"
        )
    rows, columns, _, width, _ = images.shape
    for headings, count in ((row_headings, rows), (column_headings, columns)):
        if len(headings) not in (0, count):
            raise ValueError(f"{len(headings)} headings for {count} rows or columns: {headings}")
    scale = max(1, math.ceil(_GRID_WIDTH / (columns * width)))
    canvas, gap = _tiled(images, scale)
    picture = _with_headings(canvas, gap, rows, columns, row_headings, column_headings)
    _save_picture(picture, path)


def save_images(images: np.ndarray, labels: np.ndarray, out: str | os.PathLike) -> None:
    """Saves uint8 images [N, H, W, C] with int32 labels [N] in the form that `out` asks for.

    X.png: a grid, ten to a row. X.npz: arrays `images` and `labels`. Anything else: a folder of
    PNG files <number>_<label>.png.
    """
    out = pathlib.Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".png":
        save_grid(_in_rows(images, min(10, len(images))), out)
    elif out.suffix == ".npz":
        content = io.BytesIO()
        np.savez_compressed(content, images=images, labels=np.asarray(labels, np.int32))
        write_atomically(out, content.getvalue())
    else:
        out.mkdir(exist_ok=True)
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
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
    font = ImageFont.load_default(_FONT_SIZE)
    left = math.ceil(max(map(font.getlength, row_headings))) + 10 if row_headings else 0
    top = _FONT_SIZE + 8 if column_headings else 0
    picture = Image.new("RGB", (left + sheet.width, top + sheet.height), "white")
    picture.paste(sheet, (left, top))
    draw = ImageDraw.Draw(picture)
    high, wide = (sheet.height - gap) / rows, (sheet.width - gap) / columns
    for row, text in enumerate(row_headings):
        place = (left - 4, top + gap / 2 + (row + 0.5) * high)
        draw.text(place, text, fill=_INK, font=font, anchor="rm")
    for column, text in enumerate(column_headings):
        place = (left + gap / 2 + (column + 0.5) * wide, top / 2 + 2)
        draw.text(place, text, fill=_INK, font=font, anchor="mm")
    return picture


def plot_metric_vs_step(rows: Iterable[Mapping[str, str]], path: str | os.PathLike) -> None:
    """Draws the Frechet distance over training steps from rows of fid_metrics.csv.

    One line for each group of data set, split, features and their resize, guidance scale, weights
    and number of samples: scores of different groups are not comparable. Several seeds of one step
    are dots, and the line goes through their mean. Raises ValueError where no row has a Frechet
    distance.
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
    return ", ".join((features, split, guidance, row["weights"], samples))


def plot_curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: str | os.PathLike
) -> None:
    """Draws each named (steps [N], values [N]) in a small panel of its own, side by side.

    `val_<name>`, measured on held-out images, shares the panel of `<name>`. Values that are not
    finite leave a gap. Raises ValueError for no series.
    """
    if not series:
        raise ValueError("no series to draw")
    panels: dict[str, list[str]] = defaultdict(list)
    for name in series:
        panels[name.removeprefix("val_")].append(name)
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = _figure(3.4 * columns, 2.4 * rows)
    for place, (title, names) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        for name in names:
            steps, values = np.asarray(series[name], np.float64)
            label = "held out" if name.startswith("val_") else "training"
            axes.plot(steps, np.where(np.isfinite(values), values, np.nan), linewidth=1.2,
                      label=label)  # fmt: skip
        axes.set_title(title, fontsize=9, loc="left")
        axes.tick_params(labelsize=8)
        if place > len(panels) - columns:  # no panel below
            axes.set_xlabel("training step", fontsize=8)
        _tidy(axes)
        if any(name.startswith("val_") for name in names):
            axes.legend(fontsize=7, frameon=False)
    _save_figure(figure, path)


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
    from matplotlib.colors import PowerNorm

    everything = np.concatenate([s for f in panels.values() for s in (f.places, f.points, f.goal)])
    figure, all_axes = _planes(list(panels), columns, 2.9, everything)
    lengths = {title: np.linalg.norm(field.arrows, axis=-1) for title, field in panels.items()}
    most = np.percentile(np.concatenate(list(lengths.values())), 98)
    norm = PowerNorm(0.5, 0.0, most)  # weak ones differ as well
    for axes, (title, field) in zip(all_axes, panels.items(), strict=True):
        axes.plot(*field.goal.T, ".", color=_GOAL, markersize=5)
        directions = field.arrows / np.maximum(lengths[title], 1e-12)[:, None]
        arrows = axes.quiver(
            *field.places.T, *directions.T, lengths[title], cmap="viridis", norm=norm,
            pivot="mid", angles="xy", scale=24, width=0.005,
        )  # fmt: skip
        axes.plot(*field.points.T, ".", color=_POINTS, markersize=4)
    bar = figure.colorbar(arrows, ax=all_axes, extend="max", shrink=0.7, aspect=30)
    bar.set_label(length_name, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    _save_figure(figure, path)


def save_animation(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray]],
    path: str | os.PathLike,
    columns: int,
    frame_ms: int = 160,
) -> None:
    """Saves a GIF of points on their way, a panel for each (way [T, N, 2], goal [M, 2]).

    Frame t shows the points at way[t]; the last stays longer. Raises ValueError for ways of
    different lengths.
    """
    lengths = {title: len(way) for title, (way, _) in panels.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"ways need equally many steps, got {lengths}")
    everything = np.concatenate([s.reshape(-1, 2) for panel in panels.values() for s in panel])
    figure, all_axes = _planes(list(panels), columns, 2.3, everything, dpi=80)
    moving = []
    for axes, (_, goal) in zip(all_axes, panels.values(), strict=True):
        axes.plot(*goal.T, ".", color=_GOAL, markersize=3)
        moving += axes.plot([], [], ".", color=_POINTS, markersize=4)
    title = figure.suptitle("step 0", fontsize=9)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # else panels move by a pixel between frames
    frames = []
    for step in range(next(iter(lengths.values()))):
        for dots, (way, _) in zip(moving, panels.values(), strict=True):
            dots.set_data(*way[step].T)
        title.set_text(f"step {step}")
        frames.append(_rendered(figure))
    _save_frames(frames, path, frame_ms)


def _planes(
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


def _rendered(figure: "Figure") -> Image.Image:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return Image.open(content).convert("RGB")


def _save_frames(frames: Sequence[Image.Image], path: str | os.PathLike, frame_ms: int) -> None:
    """A GIF that begins again after a second; all frames share the last one's colours."""
    palette = frames[-1].quantize(32)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [frame_ms] * (len(frames) - 1) + [1000]
    content = io.BytesIO()
    frames[0].save(
        content, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0
    )
    write_atomically(path, content.getvalue())


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

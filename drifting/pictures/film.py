"""Animations as GIF or MP4: points and fields in the plane, and grids of images, over time."""

import io
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from drifting.core.errors import UserError
from drifting.core.files import write_atomically
from drifting.pictures import plane as plane_lib
from drifting.pictures.formats import suffix_of
from drifting.pictures.grids import FONT_SIZE, INK, grid_picture
from drifting.pictures.plane import GOAL, POINTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

_GRID_WIDTH = 256  # pixels, the least: noise hardly compresses, so every pixel counts in a GIF
_COLOURS = 128  # of a GIF
_LAST_MS = 1000  # how long the last frame stays
_TRAIL_ALPHA = 0.6  # of the newest part of a trail
_MANY = 500  # more points than this have smaller dots


class VideoError(UserError):
    """A video cannot be written here."""


class Moving(NamedTuple):
    """Points that move in T frames, and a field around them.

    Attributes:
      way: [T, N, 2], the points in each frame.
      goal: [M, 2], drawn pale.
      places: [G, 2], where the arrows of the field are; None without a field.
      arrows: [T, G, 2], the field in each frame.
    """

    way: np.ndarray
    goal: np.ndarray
    places: np.ndarray | None = None
    arrows: np.ndarray | None = None


def save_animation(
    panels: Mapping[str, Moving],
    path: str | os.PathLike,
    columns: int,
    *,
    captions: Sequence[str] = (),
    plane: np.ndarray | None = None,
    trail: int = 0,
    side: float = 2.3,
    length_name: str = "",
    frame_ms: int = 160,
) -> None:
    """Saves moving points, with one panel per name, as a GIF or MP4, by the suffix of the path.

    Frame t shows the points at way[t]; the last frame stays longer.

    Args:
      captions: one per frame; by default the number of the frame.
      plane: points [P, 2] that the axes cover, and what is outside is cut off; by default all
        points.
      trail: number of frames for which the path behind a point stays visible, fading.
      side: width of a panel in inches.
      length_name: label of the colour scale of a field's arrows.

    Raises:
      ValueError: the panels have different numbers of frames, or captions do not match the frames.
      VideoError: see `save_frames`.
    """
    lengths = {title: len(moving.way) for title, moving in panels.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"all panels need the same number of frames, got {lengths}")
    count = next(iter(lengths.values()))
    captions = captions or [f"step {frame}" for frame in range(count)]
    if len(captions) != count:
        raise ValueError(f"{len(captions)} captions for {count} frames: give one per frame")
    if plane is None:
        plane = np.concatenate([s.reshape(-1, 2) for m in panels.values() for s in (m.way, m.goal)])
    figure, all_axes = plane_lib.planes(list(panels), columns, side, plane, dpi=80)
    fields = [moving.arrows for moving in panels.values() if moving.arrows is not None]
    colours = plane_lib.colours_of_lengths(fields) if fields else None
    drawn = [
        _Panel(axes, moving, trail, colours)
        for axes, moving in zip(all_axes, panels.values(), strict=True)
    ]
    if fields:
        plane_lib.add_length_bar(figure, drawn[0].arrows, all_axes, length_name)
    title = figure.suptitle(captions[0], fontsize=9)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # otherwise panels move by a pixel between frames
    frames = []
    for frame, caption in enumerate(captions):
        for panel in drawn:
            panel.show(frame)
        title.set_text(caption)
        frames.append(_rendered(figure))
    save_frames(frames, path, frame_ms)


class _Panel:
    """The artists of one panel, drawn once and updated in each frame."""

    def __init__(self, axes: "Axes", moving: Moving, trail: int, colours: object):
        self._moving = moving
        axes.plot(*moving.goal.T, ".", color=GOAL, markersize=3, zorder=0)
        self.arrows = None
        if moving.arrows is not None:
            self.arrows = plane_lib.draw_arrows(axes, moving.places, moving.arrows[0], colours)
        self._trail = _empty_trail(axes, trail)
        size = 4.0 if moving.way.shape[1] <= _MANY else 3.0
        (self._dots,) = axes.plot([], [], ".", color=POINTS, markersize=size)

    def show(self, frame: int) -> None:
        way = self._moving.way
        self._dots.set_data(*way[frame].T)
        if self.arrows is not None:
            plane_lib.turn_arrows(self.arrows, self._moving.arrows[frame])
        for age, lines in enumerate(self._trail):
            end = frame - age
            lines.set_segments(way[end - 1 : end + 1].swapaxes(0, 1) if end > 0 else [])


def _empty_trail(axes: "Axes", length: int) -> "list[LineCollection]":
    """Empty line collections of a trail, one per age of its parts, newest first."""
    from matplotlib.collections import LineCollection

    shades = _TRAIL_ALPHA * (1.0 - np.arange(length) / max(length, 1))
    lines = [LineCollection([], colors=POINTS, alpha=a, linewidths=0.8) for a in shades]
    for one in lines:
        axes.add_collection(one, autolim=False)
    return lines


def save_grids(
    images: np.ndarray, path: str | os.PathLike, captions: Sequence[str], frame_ms: int = 160
) -> None:
    """Saves images uint8 [T, rows, columns, H, W, C] as frames, each a grid with a caption.

    Raises:
      ValueError: captions do not match the frames, or the images are refused by `grid_picture`.
      VideoError: see `save_frames`.
    """
    grids = (grid_picture(grid, width=_GRID_WIDTH) for grid in images)
    frames = [_captioned(grid, text) for grid, text in zip(grids, captions, strict=True)]
    save_frames(frames, path, frame_ms)


def _captioned(picture: Image.Image, text: str) -> Image.Image:
    """The picture with a line of text above it."""
    top = FONT_SIZE + 8
    whole = Image.new("RGB", (picture.width, picture.height + top), "white")
    whole.paste(picture, (0, top))
    font = ImageFont.load_default(FONT_SIZE)
    place = (whole.width / 2, top / 2 + 1)
    ImageDraw.Draw(whole).text(place, text, fill=INK, font=font, anchor="mm")
    return whole


def _rendered(figure: "Figure") -> Image.Image:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return Image.open(content).convert("RGB")


# --- files ---------------------------------------------------------------------------------------


def save_frames(frames: Sequence[Image.Image], path: str | os.PathLike, frame_ms: int) -> None:
    """Saves RGB pictures of one size as X.gif, which repeats, or X.mp4; the last stays a second.

    Not by matplotlib's writers: they render frames from figures, and their GIF has a new palette in
    each frame, which makes it about 45 % larger and its colours flicker.

    Raises:
      ValueError: the path has another suffix.
      VideoError: there is no ffmpeg for an MP4, or it failed.
    """
    kinds = {".gif": _gif, ".mp4": _mp4}
    kind = suffix_of(path)
    if kind not in kinds:
        raise ValueError(f"{path}: animations are saved as {' or '.join(kinds)}")
    write_atomically(path, kinds[kind](frames, frame_ms))


def _gif(frames: Sequence[Image.Image], frame_ms: int) -> bytes:
    """All frames share one palette, made from a few of them, so that nothing flickers."""
    some = [frames[i] for i in np.linspace(0, len(frames) - 1, 5).round().astype(int)]
    palette = Image.fromarray(np.concatenate(some)).quantize(_COLOURS)
    colours = np.reshape(palette.getpalette()[: 3 * _COLOURS], (-1, 3))
    colours[np.all(colours > 245, axis=1)] = 255  # white paper, not its mean with pale edges
    palette.putpalette(colours.ravel().tolist())
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [frame_ms] * (len(frames) - 1) + [_LAST_MS]
    content = io.BytesIO()
    frames[0].save(
        content, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0
    )
    return content.getvalue()


def ffmpeg() -> str:
    """The path of ffmpeg: the system's, or that of the package imageio-ffmpeg.

    Raises:
      VideoError: neither is installed.
    """
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise VideoError(
            "MP4 needs ffmpeg, which is not on the PATH: install it, or `pip install "
            "imageio-ffmpeg`, which includes it (the extra `video`); GIF needs nothing"
        ) from None


def _mp4(frames: Sequence[Image.Image], frame_ms: int) -> bytes:
    """H.264 in yuv420p, which browsers and slides play; it needs even sides."""
    frames = [*frames, *[frames[-1]] * (_LAST_MS // frame_ms)]
    size = f"{frames[0].width}x{frames[0].height}"
    raw = b"".join(frame.tobytes() for frame in frames)
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.mp4"  # a file, because ffmpeg seeks back in it at the end
        command = [
            ffmpeg(), "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size,
            "-r", f"1000/{frame_ms}", "-i", "-", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white",
            "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(out),
        ]  # fmt: skip
        done = subprocess.run(command, input=raw, capture_output=True)
        if done.returncode:
            raise VideoError(f"ffmpeg failed: {done.stderr.decode(errors='replace').strip()}")
        return out.read_bytes()

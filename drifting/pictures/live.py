"""A metric of every step of a run, drawn while the run goes on, in a process of its own.

The training writes what it measures to files, and asks for pictures by a line on the standard input
of this process, which answers each with a line. It ends with the training, however that ends.
"""

import io
import json
import os
import pathlib
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from drifting.core.files import write_atomically
from drifting.pictures import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOG_FROM = 100  # from this step on, the axes are logarithmic and begin here
VALUES = "<f4"  # the numbers in a file of values; that of step 1 is the first
SUFFIX = ".float32"
_MOST_POINTS = 400  # more steps are drawn by the means of this many groups
_MOST_DOTS = 60  # a longer line has none
_MOST_ANSWERED = 1000  # characters
_SHARE = 1 / 160  # of the time of all processors, which drawing may take


def serve() -> None:
    """Draws what the lines on stdin ask for, one after the other, until stdin is closed.

    A request is {"folder": ..., "names": [...], "step": ...} in JSON; see `draw`. The answer is a
    JSON list of what could not be drawn, and why.

    The first request, which loads matplotlib, is served promptly; from then on this process leaves
    the processor to training. It answers once the drawing was a small share of the time since the
    request, so that plots that are due before are left out.
    """
    for number, line in enumerate(sys.stdin):
        request, began = json.loads(line), time.process_time()
        failed = []
        for name in request["names"]:
            try:
                draw(pathlib.Path(request["folder"]), name, request["step"])
            except Exception as error:
                failed.append(f"{name}.png: {type(error).__name__}: {error}"[:_MOST_ANSWERED])
        if number == 0:
            _yield_processor()
        else:
            time.sleep((time.process_time() - began) / (_SHARE * (os.cpu_count() or 1)))
        print(json.dumps(failed), flush=True)


def _yield_processor() -> None:
    """From here on this process computes while a processor has nothing else to do."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(19)


def values_path(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The file of the values of a metric: float32, one number for each step."""
    return folder / f"{name}{SUFFIX}"


def picture_path(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / f"{name}.png"


def draw(folder: pathlib.Path, name: str, step: int) -> None:
    """Draws <folder>/<name>.png, up to a step, from the file of its values.

    Raises:
      OSError: the values cannot be read, or the picture cannot be written.
    """
    values = read_values(values_path(folder, name), step)
    plot_steps(values, picture_path(folder, name), name)


def read_values(path: pathlib.Path, steps: int) -> np.ndarray:
    """The values [steps] in a file; NaN at steps that it lacks."""
    values = np.full(steps, np.nan, VALUES)
    found = np.fromfile(path, VALUES, steps)
    values[: len(found)] = found
    return values


def plot_steps(values: np.ndarray, path: str | os.PathLike, name: str) -> None:
    """Draws the values [N] of a metric at the steps 1 to N; those that are not finite are gaps.

    Before step 100 both axes are linear. From then on the step is on a log scale that begins at
    100, and so is the metric if all of its values there are positive. Many steps are drawn as the
    mean, and the smallest and largest value, of neighbouring ones.
    """
    log_scale = len(values) >= LOG_FROM
    first = LOG_FROM if log_scale else 1
    shown = np.where(np.isfinite(values), values, np.nan)[first - 1 :].astype(np.float64)
    steps = np.arange(first, len(values) + 1)
    grouped = _grouped(steps, shown, log_scale)
    figure = figures.make(7.0, 4.2, layout=None)  # to compute one would take as long as to draw
    axes = figure.add_axes((0.09, 0.11, 0.88, 0.81))
    _draw_line(axes, *grouped)
    axes.set_xlabel("training step", fontsize=9)
    axes.set_ylabel(name, fontsize=9)
    axes.set_title(name, fontsize=10, loc="left")
    many = len(grouped[0]) < len(steps)
    drawn = "means and ranges of neighbouring steps" if many else "every step"
    axes.set_title(f"{drawn}, up to step {len(values):,}", fontsize=8, loc="right", color="0.35")
    if log_scale:
        finite = shown[np.isfinite(shown)]
        positive = len(finite) and finite.min() > 0
        axes.set(xscale="log", yscale="log" if positive else "linear")
        axes.set_xlim(LOG_FROM, max(len(values), LOG_FROM + 10))
    else:
        axes.set_xlim(0, len(values))
    figures.tidy(axes)
    axes.tick_params(which="both", labelsize=8, length=3)
    content = io.BytesIO()
    figure.savefig(content, format="png", pil_kwargs={"compress_level": 1})  # for speed
    write_atomically(path, content.getvalue())


def _draw_line(
    axes: "Axes", steps: np.ndarray, means: np.ndarray, low: np.ndarray, high: np.ndarray
) -> None:
    dot = "." if len(steps) <= _MOST_DOTS else ""
    (line,) = axes.plot(steps, means, linewidth=1.2, marker=dot, markersize=5, clip_on=not dot)
    axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)


def _grouped(
    steps: np.ndarray, values: np.ndarray, log_scale: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Groups of neighbouring steps, equally wide in the picture: steps, means, least, greatest.

    Args:
      steps: [N], rising by one; at most as many groups as `_MOST_POINTS` are returned.
    """
    places = np.log(steps) if log_scale else steps.astype(np.float64)
    width = (places[-1] - places[0]) / _MOST_POINTS
    if not width:
        return steps, values, values, values
    groups = np.minimum((places - places[0]) // width, _MOST_POINTS - 1)
    starts = np.flatnonzero(np.diff(groups, prepend=-1.0))
    counts = np.diff(starts, append=len(steps))
    return (
        np.add.reduceat(steps, starts) / counts,
        np.add.reduceat(values, starts) / counts,
        np.minimum.reduceat(values, starts),
        np.maximum.reduceat(values, starts),
    )

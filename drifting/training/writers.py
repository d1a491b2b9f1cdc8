"""The metrics.jsonl, epochs.jsonl, TensorBoard events, plots, curves and sample grids of a run."""

import json
import logging
import os
import pathlib
from collections.abc import Sequence
from typing import IO, Any

from drifting import pictures
from drifting.core import json_lines
from drifting.core.files import naming
from drifting.core.method import Grid, Scatter
from drifting.training import telemetry
from drifting.training.live_plots import LivePlots

log = logging.getLogger(__name__)

NO_EVENTS = "TensorBoard events are off from here on: %s"
NOT_DRAWN = ("step", "epoch", "images_per_second", "epoch_seconds", *telemetry.NAMES)


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl or an epochs.jsonl, without lines that cannot be understood."""
    return json_lines.read(path, _is_row)[0]


def count_damaged(path: str | os.PathLike) -> int:
    """How many lines of a metrics.jsonl are no rows, without an incomplete last one."""
    return len(json_lines.read(path, _is_row)[1])


def _is_row(row: dict[str, Any]) -> bool:
    """Whether an object holds numbers, among them the step."""
    return all(isinstance(v, int | float) for v in row.values()) and isinstance(
        row.get("step"), int
    )


def _continued(path: pathlib.Path, last_step: int) -> IO[str]:
    """A file of rows, open to write those of steps after `last_step`; others of these are lost."""
    rows, others = json_lines.read(path, _is_row)
    json_lines.write(path, (r for r in rows if r["step"] <= last_step), others)
    return open(path, "a", buffering=1)


class Writers:
    """Writes everything in a workdir that a run produces, except its checkpoints and config.json.

    metrics.jsonl and epochs.jsonl are the durable record and are always written. TensorBoard events
    need TensorFlow; without it, one warning is logged.

    Args:
      workdir: an existing, writable folder.
      last_step: of the checkpoint that the run resumes from, or -1. What was written of later
        steps is dropped, as they are written again.
      tensorboard: whether to write events.
      hparams: for TensorBoard's table of runs.
      plotted: metrics that are plotted during training, by `plots`.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        last_step: int,
        tensorboard: bool,
        hparams: dict[str, Any],
        plotted: Sequence[str] = (),
    ):
        self._workdir, self._path = workdir, workdir / "metrics.jsonl"
        self._file = _continued(self._path, last_step)
        self._epochs_path = workdir / "epochs.jsonl"
        self._epochs = _continued(self._epochs_path, last_step)
        self.plots = LivePlots(workdir / "summary", plotted, last_step)
        self._board = _summary_writer(workdir, last_step + 1) if tensorboard else None
        simple = {k: v for k, v in hparams.items() if isinstance(v, int | float | str | bool)}
        self._event("write_hparams", simple)

    def scalars(self, step: int, row: dict[str, float]) -> None:
        """Writes one row of metrics."""
        with naming(self._path):
            self._file.write(json.dumps({"step": step, **row}) + "\n")
        self._event("write_scalars", step, row)

    def epoch(self, step: int, row: dict[str, float]) -> None:
        """Writes one row of epochs.jsonl, of the epoch that ended at a step."""
        with naming(self._epochs_path):
            self._epochs.write(json.dumps({"step": step, **row}) + "\n")

    def flush(self) -> None:
        """Writes out all events, as a resumed run writes none of the steps before it again."""
        self._event("flush")

    def _event(self, call: str, *arguments: Any) -> None:
        """Calls clu's writer; an error, of a full disk for one, ends the events but not the run."""
        try:
            if self._board:
                getattr(self._board, call)(*arguments)
        except Exception as error:
            self._board = None
            log.warning(NO_EVENTS, _first_line(error))

    def picture(self, step: int, name: str, shown: Grid | Scatter) -> None:
        """Writes samples/step_XXXXXXX.png, or figures/step_XXXXXXX_<name>.png of anything else.

        Args:
          shown: points, or uint8 images.
        """
        sampled = name in ("samples", "points")
        path = self._workdir / ("samples" if sampled else "figures")
        path.mkdir(exist_ok=True)
        path /= f"step_{step:07d}.png" if sampled else f"step_{step:07d}_{name}.png"
        with pictures.attempt(path):
            if isinstance(shown, Scatter):
                pictures.plot_points(shown.points, shown.data, path)
            else:
                pictures.save_grid(shown.images, path)
        if self._board and not isinstance(shown, Scatter):
            images = shown.images
            rows, columns, height, width, channels = images.shape
            sheet = images.transpose(0, 2, 1, 3, 4)  # [rows, H, columns, W, C]
            sheet = sheet.reshape(1, rows * height, columns * width, channels)
            self._event("write_images", step, {name: sheet})

    def close(self) -> None:
        """Closes the files and draws the plots and curves.png from everything that was logged."""
        with naming(self._path):
            self._file.close()
        with naming(self._epochs_path):
            self._epochs.close()
        self._event("flush")
        self._event("close")
        self.plots.close()
        curves = _curves(read_metrics(self._path))
        if curves:
            path = self._workdir / "curves.png"
            with pictures.attempt(path):
                pictures.plot_curves(curves, path)


def _curves(rows: list[dict[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """(steps, values) of each metric, by name, over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row if name not in NOT_DRAWN)
    having = {name: [row for row in rows if name in row] for name in names}
    return {n: ([r["step"] for r in rs], [r[n] for r in rs]) for n, rs in having.items()}


def _summary_writer(workdir: pathlib.Path, first_step: int):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        from clu.metric_writers import SummaryWriter  # imports TensorFlow

        for path in workdir.glob("events.out.tfevents.*"):
            _drop_events(path, first_step)
        return SummaryWriter(str(workdir))
    except ImportError:
        log.warning("TensorFlow is not installed: TensorBoard events are off")
    except Exception as error:
        log.warning(NO_EVENTS, _first_line(error))
    return None


def _drop_events(path: pathlib.Path, first_step: int) -> None:
    """Truncates a file of events before the first one of `first_step` or later."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    size = 0
    for record in RawEventFileLoader(str(path)).Load():
        event = Event.FromString(record)
        if event.HasField("summary") and event.step >= first_step:
            os.truncate(path, size)
            return
        size += 8 + 4 + len(record) + 4  # a record is between its length and two checksums


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]

"""The metrics.jsonl, TensorBoard events, curves and sample grids of a run."""

import json
import logging
import os
import pathlib
from typing import Any

from drifting import pictures
from drifting.core.files import write_atomically
from drifting.core.method import Grid, Scatter

log = logging.getLogger(__name__)

NOT_DRAWN = ("step", "epoch", "images_per_second", "epoch_seconds")


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, without a last line that a killed process left incomplete."""
    path = pathlib.Path(path)
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


class Writers:
    """Writes everything in a workdir that a run produces, except its checkpoints and config.json.

    metrics.jsonl is the durable record and is always written. TensorBoard events need TensorFlow;
    without it, one warning is logged.

    Args:
      workdir: an existing, writable folder.
      start_step: rows of later steps are dropped, as a resumed run writes them again.
      tensorboard: whether to write events.
      hparams: for TensorBoard's table of runs.
    """

    def __init__(
        self, workdir: pathlib.Path, start_step: int, tensorboard: bool, hparams: dict[str, Any]
    ):
        self._workdir = workdir
        path = workdir / "metrics.jsonl"
        kept = [r for r in read_metrics(path) if r["step"] <= start_step]
        text = "".join(json.dumps(r) + "\n" for r in kept)
        write_atomically(path, text.encode())
        self._file = open(path, "a", buffering=1)  # noqa: SIM115 (closed in close)
        self._board = _summary_writer(workdir) if tensorboard else None
        if self._board:
            simple = {k: v for k, v in hparams.items() if isinstance(v, int | float | str | bool)}
            self._board.write_hparams(simple)

    def scalars(self, step: int, row: dict[str, float]) -> None:
        """Writes one row of metrics."""
        self._file.write(json.dumps({"step": step, **row}) + "\n")
        if self._board:
            self._board.write_scalars(step, row)

    def picture(self, step: int, name: str, shown: Grid | Scatter) -> None:
        """Writes samples/step_XXXXXXX.png, or step_XXXXXXX_<name>.png if it shows no samples.

        Args:
          shown: points, or uint8 images.
        """
        suffix = "" if name in ("samples", "points") else f"_{name}"
        folder = self._workdir / "samples"
        folder.mkdir(exist_ok=True)
        path = folder / f"step_{step:07d}{suffix}.png"
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
            self._board.write_images(step, {name: sheet})

    def close(self) -> None:
        """Closes the files and draws curves.png from everything that was logged."""
        self._file.close()
        curves = _curves(read_metrics(self._workdir / "metrics.jsonl"))
        if curves:
            pictures.plot_curves(curves, self._workdir / "curves.png")
        if self._board:
            self._board.flush()
            self._board.close()


def _curves(rows: list[dict[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """(steps, values) of each metric, by name, over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row if name not in NOT_DRAWN)
    having = {name: [row for row in rows if name in row] for name in names}
    return {n: ([r["step"] for r in rs], [r[n] for r in rs]) for n, rs in having.items()}


def _summary_writer(workdir: pathlib.Path):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        from clu.metric_writers import SummaryWriter  # imports TensorFlow
    except ImportError:
        log.warning("TensorFlow is not installed: TensorBoard events are off")
        return None
    return SummaryWriter(str(workdir))

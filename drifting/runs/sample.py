"""Sampling from the newest checkpoint of a run, to a picture, an npz file or a folder."""

import logging
import pathlib

import numpy as np

from drifting import pictures
from drifting.core import files
from drifting.runs.build import load_images
from drifting.runs.frozen import open_run
from drifting.runs.workdir import Run, WorkdirError
from input_pipeline.decoding import DataError
from input_pipeline.space import Points

log = logging.getLogger(__name__)


def load(workdir: str | pathlib.Path) -> Run:
    """Opens a workdir to sample from: `load("runs/digits").sample(range(10), seed=0)`.

    Neither the training set nor the encoder of the run is needed; of a run on latents, their
    autoencoder is.

    Raises:
      UserError: the workdir is not that of a run, or the autoencoder is missing or another one.
    """
    return open_run(workdir)


def sample(
    workdir: str | pathlib.Path,
    num: int = 64,
    out: str | pathlib.Path | None = None,
    *,
    labels: list[int] | None = None,
    cfg_scale: float | None = None,
    batch_size: int | None = None,
    seed: int = 42,
    ema: bool = True,
    sampler: str | None = None,
    sampling_steps: int | None = None,
) -> pathlib.Path:
    """Writes `num` samples of a run's newest checkpoint as a picture, an npz file or a folder.

    Args:
      out: where to write; its suffix decides the form, see `pictures.save_samples`.
        <workdir>/samples.png if None.
      labels: classes, which are repeated in this order; all classes if None.
      cfg_scale, batch_size: those of config.eval if None.
      ema: whether to use the averaged weights.
      sampler, sampling_steps: of a flow; those of the config if None.

    Returns:
      Where the samples were written.

    Raises:
      UserError: an argument is invalid, or `out` cannot be written; nothing is generated.
    """
    run = open_run(workdir)
    run.require_generator()
    run.use_sampler(sampler, sampling_steps)
    out = pathlib.Path(out).expanduser() if out else run.workdir / "samples.png"
    _check_out(out)
    # Repeated in order, so that the numbers of samples per class differ by one at most.
    chosen = np.resize(np.asarray(labels or range(run.facts.num_classes), np.int32), num)
    samples = run.sample(
        chosen, seed, cfg_scale=cfg_scale, ema=ema, batch_size=batch_size, progress=True
    )
    pictures.save_samples(samples, chosen, run.space.shown, out, _real_points(run))
    log.info("%d samples of step %d: %s", num, run.last[1], out)
    return out


def _real_points(run: Run) -> np.ndarray | None:
    """The data that samples in the plane are drawn over; None for images or without the data."""
    if not isinstance(run.facts.space, Points):
        return None
    try:
        return load_images(run.config).images
    except DataError as error:
        log.warning("the samples are drawn without the data: %s", error)
        return None


def _check_out(out: pathlib.Path) -> None:
    """Checks, before anything is generated, that `out` can be written and mixes no samples."""
    is_folder = pictures.form_of(out) == "folder"
    try:
        files.require_writable(out if is_folder else out.parent)
    except OSError as error:
        raise WorkdirError(
            f"cannot write --out {out}: {error.strerror}; choose another place"
        ) from error
    if is_folder and any(out.iterdir()):
        raise WorkdirError(f"--out {out} is not empty; empty it or choose another folder")

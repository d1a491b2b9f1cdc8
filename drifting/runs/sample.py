"""The story of sampling: a run's newest checkpoint to a picture, an npz or a folder."""

import logging
import pathlib

import numpy as np

from drifting import pictures
from drifting.core import files
from drifting.runs.build import load_images
from drifting.runs.workdir import Run, WorkdirError
from input_pipeline.decoding import DataError
from input_pipeline.space import Points

log = logging.getLogger(__name__)


def load(workdir: str | pathlib.Path) -> Run:
    """The run of a workdir, to sample from: `load("runs/digits").sample(range(10), seed=0)`.

    Neither its training set nor its encoder has to be there.

    Raises:
      UserError: the workdir is not that of a run.
    """
    return Run(workdir)


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
    """Writes `num` samples of a run's newest checkpoint as a picture, an npz or a folder.

    Args:
      out: its form, see `pictures.save_samples`; <workdir>/samples.png if None.
      labels: classes in turn; all of them, balanced, if None.
      sampler, sampling_steps: of a flow; None is the config's.

    Returns:
      Where they are.

    Raises:
      UserError: something cannot be; nothing is generated.
    """
    run = Run(workdir)
    run.require_generator()
    run.use_sampler(sampler, sampling_steps)
    out = pathlib.Path(out).expanduser() if out else run.workdir / "samples.png"
    _check_out(out)
    # In turn, so every class is there as often, or once more.
    chosen = np.resize(np.asarray(labels or range(run.facts.num_classes), np.int32), num)
    samples = run.sample(
        chosen, seed, cfg_scale=cfg_scale, ema=ema, batch_size=batch_size, progress=True
    )
    pictures.save_samples(samples, chosen, run.facts.space, out, _real_points(run))
    log.info("%d samples of step %d: %s", num, run.last[1], out)
    return out


def _real_points(run: Run) -> np.ndarray | None:
    """What samples of the plane are drawn over, where the data are there."""
    if not isinstance(run.facts.space, Points):
        return None
    try:
        return load_images(run.config).images
    except DataError as error:
        log.warning("samples are drawn without the data: %s", error)
        return None


def _check_out(out: pathlib.Path) -> None:
    """Refuses, before the work, a place that cannot be written or would mix two sets of samples."""
    is_folder = out.suffix not in (".png", ".npz")
    try:
        files.require_writable(out if is_folder else out.parent)
    except OSError as error:
        raise WorkdirError(f"cannot write --out {out}: {error.strerror}") from error
    if is_folder and any(out.iterdir()):
        raise WorkdirError(f"--out {out} holds files already; empty it or choose another folder")

"""Which checkpoint of a run is the best: what keeps, lists, restores and scores it asks here."""

import math
import pathlib
from typing import Any, NamedTuple

from drifting.core.errors import ConfigError
from drifting.core.method import BestScore
from drifting.evaluation import metrics, record
from drifting.runs.sampled import Sampled
from drifting.training import checkpoints
from input_pipeline.sources import SOURCES

CHECKPOINTS = "checkpoints"  # in a workdir
MIFID = "mifid"  # the column that counts where features are those of Inception


class Best(NamedTuple):
    """The best checkpoint, its score, and what that is, such as "val_accuracy"."""

    step: int
    value: float
    what: str


def find(workdir: pathlib.Path, score: BestScore | None, config: Any) -> Best | None:
    """The best of the finished checkpoints, the latest of equal ones; None if none has a score.

    Of a score of evaluations those count that were measured by config.eval, with averaged weights
    and as many samples as there are; NaN and infinity never do. Data may have been moved meanwhile.

    Args:
      score: `best_score` of the run's method.
      config: that the newest checkpoint was, or will be, made with.
    """
    if score is None:
        return None
    folder = workdir / CHECKPOINTS
    if score.evaluated:
        return _evaluated(workdir, checkpoints.valid_steps(folder), score, config)
    step = checkpoints.best_step(folder, score.name, score.largest)
    if step is None:
        return None
    return Best(step, checkpoints.saved_metrics(folder, step)[score.name], score.name)


def step(workdir: pathlib.Path, score: BestScore | None, config: Any) -> int | None:
    """The step of `find`."""
    best = find(workdir, score, config)
    return best and best.step


def require(run: Sampled) -> int:
    """The step of a run's best checkpoint; ConfigError if none has a score."""
    score = run.method.best_score
    found = step(run.workdir, score, run.config)
    if found is None:
        raise ConfigError(
            f"--checkpoints best: no checkpoint of {run.workdir} has a {column(score, run.config)} "
            "with the settings of its config.eval; score with --checkpoints all first"
        )
    return found


def require_measured(score: BestScore | None, config: Any) -> None:
    """Raises ConfigError if evaluations would not measure what marks the best checkpoint."""
    if score is None or not score.evaluated:
        return
    name = column(score, config)
    metric = next(m for m in metrics.known().values() if name in m.columns).name
    if metric not in config.eval.metrics:
        raise ConfigError(
            f"config.eval.metrics = {tuple(config.eval.metrics)} lacks {metric!r}, which marks the "
            f"best checkpoint with features {config.eval.features!r}: add it"
        )


def column(score: BestScore, config: Any) -> str:
    """The column of the record that has a score of evaluations: MiFID on Inception features."""
    return MIFID if config.eval.features == "inception" else score.name


def _evaluated(
    workdir: pathlib.Path, steps: list[int], score: BestScore, config: Any
) -> Best | None:
    name = column(score, config)
    rows = [row for row in record.read(workdir) if row["step"] in steps]
    rows = [row for row in rows if _counts(row, config) and _is_finite(row[name])]
    if not rows:
        return None
    setting = max(rows, key=lambda r: (r["split"] == config.data.test_split, r["num_samples"]))
    means = record.mean_by_step(rows, setting, name)
    sign = 1 if score.largest else -1
    _, best = max((sign * value, step) for step, value in means.items())
    what = f"{name}, {setting['features']}, {setting['num_samples']} samples"
    return Best(best, means[best], what)


def _counts(row: record.Row, config: Any) -> bool:
    """Whether a row was measured by config.eval, apart from where the data were."""
    wanted = config.eval
    return (
        row["features"] == wanted.features
        and row["fid_mode"] in ("", wanted.fid_mode)
        and row["cfg_scale"] == wanted.cfg_scale
        and row["num_samples"] <= wanted.num_samples
        and row["weights"] == "ema"
        and row["data_set"].partition(":")[0] in SOURCES  # not a file of --statistics
    )


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)

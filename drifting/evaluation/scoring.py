"""Scores checkpoints of a run: samples, Frechet distance, neighbours, one CSV row each."""

import dataclasses
import datetime
import functools
import logging
import pathlib
import time
from typing import Any, Protocol

import jax
import numpy as np

from drifting import pictures
from drifting.config import ConfigError
from drifting.evaluation import features, frechet, generation, neighbours, report
from input_pipeline.sources import ImageSet

log = logging.getLogger(__name__)

PREVIEW_ROWS = 8
PREVIEW_COLUMNS = 10


class Scorable(Protocol):
    """What scoring needs of a run."""

    workdir: pathlib.Path
    config: Any

    def choose_steps(self, which: str) -> list[int]: ...

    def restore(self, step: int) -> tuple[Any, dict[str, float]]: ...

    def sampler(self, cfg_scale: float, ema: bool) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to score; the same for all checkpoints of a call.

    Attributes:
      num_samples: labels follow the reference's class frequencies.
      cfg_scale: guidance at sampling.
      seed: of the samples.
      features: a name of `features.feature_function`.
      ema: averaged weights, or the raw ones.
    """

    num_samples: int
    batch_size: int
    cfg_scale: float
    seed: int
    features: str
    ema: bool = True


class Scorer:
    """Scores checkpoints against one reference; what depends on the reference alone is made once.

    Args:
      run: the trained run.
      reference: real images that samples are compared with.
      heldout: real images never trained on, or None.
      settings: how to score.

    Raises:
      ConfigError: fewer than two samples, or unknown features.
    """

    def __init__(
        self, run: Scorable, reference: ImageSet, heldout: ImageSet | None, settings: Settings
    ):
        if settings.num_samples < 2 or settings.batch_size < 1:
            raise ConfigError(
                f"num_samples = {settings.num_samples} and batch_size = {settings.batch_size}: "
                "a score needs two samples or more"
            )
        self._run, self._reference, self._heldout = run, reference, heldout
        self._settings = settings
        self._features = features.feature_function(settings.features, reference.images.shape[1:])
        self._program = generation.SampleProgram(run.sampler(settings.cfg_scale, settings.ema))
        counts = np.bincount(reference.labels, minlength=reference.num_classes)
        self._labels = generation.class_balanced_labels(settings.num_samples, counts)
        if settings.num_samples <= self._features.dimension:
            log.warning(
                "%d samples for %d feature dimensions: the covariance is singular and the "
                "Frechet distance biased; compare it only with scores of as many samples",
                settings.num_samples,
                self._features.dimension,
            )

    @functools.cached_property
    def _reference_moments(self) -> frechet.Moments:
        return self._moments(self._reference.images)

    @functools.cached_property
    def _heldout_distance(self) -> float | None:
        if self._heldout is None:
            return None
        images = self._heldout.images[: self._settings.num_samples]
        return float(np.median(neighbours.nearest_distance(images, self._reference.images)))

    def _moments(self, images: np.ndarray) -> frechet.Moments:
        return generation.moments_of(images, self._features, batch_size=1024)

    def identity(self, step: int) -> dict[str, Any]:
        """The columns that tell one measurement from another, and its place."""
        s = self._settings
        return {
            "checkpoint": f"checkpoints/{step}",
            "data_set": self._reference.source,
            "split": self._reference.split,
            "features": self._features.name,
            "step": step,
            "num_samples": s.num_samples,
            "batch_size": s.batch_size,
            "cfg_scale": s.cfg_scale,
            "seed": s.seed,
            "weights": "ema" if s.ema else "raw",
        }

    def score(self, step: int) -> dict[str, Any]:
        """Scores one checkpoint, writes its artifacts and appends its row.

        Raises:
          NonFiniteSamples: the generator gives NaN or infinity.
        """
        began = time.perf_counter()
        state, training = self._run.restore(step)
        images = generation.generate_images(
            self._program,
            state,
            self._labels,
            jax.random.key(self._settings.seed),
            self._settings.batch_size,
        )
        row = {
            "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **self.identity(step),
            **{k: v for k, v in training.items() if k in report.COLUMNS},
            **self._measure(images),
        }
        self._preview(step, images)
        row["eval_seconds"] = round(time.perf_counter() - began, 3)
        report.write_json(self._artifacts(step) / "eval_metadata.json", self._metadata(row))
        report.append_row(self._run.workdir / "eval" / "fid_metrics.csv", row)
        return row

    def _measure(self, images: np.ndarray) -> dict[str, float | None]:
        reference = self._reference
        distance = frechet.frechet_distance(self._reference_moments, self._moments(images))
        nearest = neighbours.nearest_distance(images, reference.images)
        accuracy = None
        if reference.num_classes > 1:
            accuracy = neighbours.knn_label_accuracy(
                reference.images, reference.labels, images, self._labels
            )
        return {
            "frechet_distance": distance,
            "knn_accuracy": accuracy,
            "nn_distance_samples": float(np.median(nearest)),
            "nn_distance_heldout": self._heldout_distance,
        }

    def _artifacts(self, step: int) -> pathlib.Path:
        s = self._settings
        name = f"{'ema' if s.ema else 'raw'}_cfg{s.cfg_scale:g}_step{step}"
        folder = self._run.workdir / "eval" / "artifacts" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _preview(self, step: int, images: np.ndarray) -> None:
        """A column for each of the first ten classes."""
        columns = min(self._reference.num_classes, PREVIEW_COLUMNS)
        rows = [np.flatnonzero(self._labels == c)[:PREVIEW_ROWS] for c in range(columns)]
        height = min(map(len, rows))
        if height == 0:
            return
        grid = np.stack([images[r[:height]] for r in rows], axis=1)
        names = self._reference.class_names[:columns]
        pictures.save_grid(grid, self._artifacts(step) / "preview.png", column_headings=names)

    def _metadata(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            "row": row,
            "config": self._run.config.to_dict(),
            "reference_fingerprint": self._reference.fingerprint,
            "reference_images": len(self._reference),
            "feature_dimension": self._features.dimension,
            "jax": jax.__version__,
            "device_kind": jax.devices()[0].device_kind,
        }


def score_run(scorer: Scorer, run: Scorable, which: str, skip_existing: bool) -> None:
    """Scores the checkpoints that `which` names, then draws fid_vs_step.png from the CSV."""
    table = run.workdir / "eval" / "fid_metrics.csv"
    for step in run.choose_steps(which):
        if skip_existing and report.is_scored(report.read_rows(table), scorer.identity(step)):
            log.info("step %d is scored already", step)
            continue
        log.info(_line(scorer.score(step)))
    pictures.plot_metric_vs_step(report.read_rows(table), table.with_name("fid_vs_step.png"))
    log.info("written: %s and fid_vs_step.png beside it", table)


def _line(row: dict[str, Any]) -> str:
    text = f"step {row['step']}: Frechet distance ({row['features']}) {row['frechet_distance']:.4g}"
    if row["knn_accuracy"] is not None:
        text += f", 3-NN label accuracy {row['knn_accuracy']:.1%}"
    text += f", median distance to the nearest real image {row['nn_distance_samples']:.3g}"
    if row["nn_distance_heldout"] is not None:
        text += f" (held-out real: {row['nn_distance_heldout']:.3g})"
    return f"{text}, {row['eval_seconds']:.1f} s"

"""Scores a checkpoint of a run: one compiled pass over samples, many metrics, one record line."""

import dataclasses
import datetime
import functools
import hashlib
import pathlib
import re
import shutil
import time
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import numpy as np
from tqdm import tqdm

from drifting import pictures
from drifting.core import files
from drifting.evaluation import extraction, generation, metrics, ordering, record
from drifting.evaluation.checks import check_metrics
from drifting.evaluation.comparison import Comparison, Originals, Reference, samples_of
from drifting.evaluation.features import FeatureFunction
from drifting.evaluation.metric import Need, Row
from drifting.evaluation.settings import ScoreSettings
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Points

PREVIEW_ROWS = 8
PREVIEW_COLUMNS = 10
PREVIEW_POINTS = 2000


class Scorable(Protocol):
    """The interface of a run that can be scored."""

    workdir: pathlib.Path
    config: Any
    sampler_name: str  # "" for a generator that can be sampled in one way only

    def steps(self) -> list[int]: ...

    def restore(self, step: int) -> tuple[Any, dict[str, float]]: ...

    def program(
        self, cfg_scale: float, ema: bool, sharding: jax.sharding.NamedSharding
    ) -> generation.SampleProgram: ...

    def nfe(self, cfg_scale: float) -> int: ...

    def batch_sharding(self, batch_size: int) -> jax.sharding.NamedSharding: ...


def make_scorers(
    run: Scorable,
    images: ImageSet,
    heldout: ImageSet | None,
    function: FeatureFunction,
    settings: ScoreSettings,
    cfg_scales: Sequence[float],
    seeds: Sequence[int],
    inputs: ImageSet | None = None,
) -> list["Scorer"]:
    """One scorer for each guidance scale and seed; features, reference and programs are shared.

    Args:
      images, heldout: see `Reference`.
      inputs: the images that samples are made from, for programs `of_images`. Each is used at most
        once, so that there may be fewer samples than settings.num_samples.

    Raises:
      ConfigError: the settings are invalid, or a metric is not defined for these data or features.
    """
    sharding = run.batch_sharding(settings.batch_size)
    programs = [run.program(scale, settings.ema, sharding) for scale in cfg_scales]
    originals = None
    if inputs is not None:
        rows = ordering.shuffled(inputs.images, seed=0)[: settings.num_samples]
        settings = dataclasses.replace(settings, num_samples=len(rows))
        originals = Originals(inputs.take(rows), function, settings.batch_size, sharding)
    count, made = settings.num_samples, originals is not None
    check_metrics(settings, images, function, programs[0].shown, count, made)
    reference = Reference(
        images,
        heldout,
        function,
        batch_size=settings.batch_size,
        heldout_count=settings.num_samples,
        sharding=sharding,
        statistics=settings.statistics,
    )
    scorers = []
    for scale, program in zip(cfg_scales, programs, strict=True):
        for seed in seeds:
            one = dataclasses.replace(settings, cfg_scale=scale, seed=seed)
            scorers.append(Scorer(run, reference, function, program, one, originals))
    return scorers


class Scorer:
    """Scores checkpoints of one run with one setting; made by `make_scorers`."""

    def __init__(
        self,
        run: Scorable,
        reference: Reference,
        function: FeatureFunction,
        program: generation.SampleProgram,
        settings: ScoreSettings,
        originals: Originals | None,
    ):
        self._run, self._settings, self._originals = run, settings, originals
        self._reference, self._features, self._program = reference, function, program
        images, count = reference.images, settings.num_samples
        if originals:
            self._inputs, self._labels = originals.images.images, originals.images.labels
        else:
            counts = np.bincount(images.labels, minlength=images.num_classes)
            self._inputs = self._labels = generation.class_balanced_labels(count, counts)

    @property
    def cfg_scale(self) -> float:
        return self._settings.cfg_scale

    @property
    def metrics(self) -> Sequence[str]:
        return self._settings.metrics

    def identity(self, step: int) -> dict[str, Any]:
        """The columns that identify a measurement of a step: its settings, data and checkpoint."""
        s, images = self._settings, self._reference.images
        return {
            "checkpoint": f"checkpoints/{step}",
            "data_set": images.source if s.statistics is None else s.statistics,
            "split": images.split,
            "features": self._features.name,
            "fid_mode": self._features.mode,
            "step": step,
            "num_samples": s.num_samples,
            "batch_size": s.batch_size,
            "cfg_scale": s.cfg_scale,
            "sampler": self._run.sampler_name,
            "nfe": self._run.nfe(s.cfg_scale),
            "seed": s.seed,
            "weights": "ema" if s.ema else "raw",
        }

    def is_scored(self, rows: Sequence[Row], step: int) -> bool:
        """Whether `rows` have every metric of this setting for a step."""
        wanted = metrics.chosen(self._settings.metrics)
        rows = [row for row in rows if all(metric.is_in(row) for metric in wanted)]
        return record.is_scored(rows, self.identity(step))

    def score(self, step: int) -> dict[str, Any]:
        """Scores one checkpoint, appends the row to the record and writes its artifacts.

        With `cleanup_samples` only the row stays.

        Raises:
          NonFiniteSamples: a sample has NaN or infinite values.
        """
        began = time.perf_counter()
        state, training = self._run.restore(step)
        features, images = self._generate(state)
        generated = time.perf_counter() - began
        row = {
            "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **self.identity(step),
            **{k: v for k, v in training.items() if k in record.columns()},
        }
        samples = samples_of(features, images, self._labels, self._originals)
        comparison = Comparison(self._reference, samples, self._settings.seed)
        row |= metrics.measure(self._settings.metrics, comparison)
        row["eval_seconds"] = round(time.perf_counter() - began, 3)
        timings = {"generation_and_features_seconds": round(generated, 3)}
        folder = self._artifacts(step)
        if self._settings.cleanup_samples:
            record.append(self._run.workdir, row)
            shutil.rmtree(folder, ignore_errors=True)  # an earlier call may have kept it
            return row
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(folder / "eval_metadata.json", self._metadata(row, timings))
        record.append(self._run.workdir, row)
        self._write_pictures(folder, images)
        return row

    # --- generation ------------------------------------------------------------------------------

    def _generate(self, state: Any) -> tuple[extraction.FeatureSet, np.ndarray]:
        """The features of the samples, and as many of the first images as are needed."""
        s = self._settings
        needs = metrics.needs(s.metrics)
        needs_all = s.save_samples or Need.IMAGES in needs
        count = s.num_samples if needs_all else self._preview_count
        real = self._reference.images.images
        images = np.empty((count, *real.shape[1:]), real.dtype)
        keep_vectors = bool(needs & (Need.VECTORS | Need.LOGITS))
        collector = extraction.FeatureCollector(self._features.dimension, keep_vectors)
        done = 0
        batches = self._program.batches(
            state, jax.random.key(s.seed), self._inputs, s.batch_size, self._features.apply
        )
        with tqdm(total=s.num_samples, unit="image", desc="generate", leave=False) as bar:
            for generated in batches:
                collector.add(generated.features)
                size = len(generated.images)
                if done < count:
                    part = np.asarray(generated.images)[: count - done]
                    images[done : done + len(part)] = part
                done += size
                bar.update(size)
        return collector.collected(), images

    @functools.cached_property
    def _preview_rows(self) -> np.ndarray:
        """Indices of the samples in the preview, [rows, columns]: one column per class."""
        columns = min(self._reference.images.num_classes, PREVIEW_COLUMNS)
        rows = [np.flatnonzero(self._labels == c)[:PREVIEW_ROWS] for c in range(columns)]
        height = min(map(len, rows))
        return np.stack([r[:height] for r in rows], axis=1)  # [rows, columns]

    @property
    def _preview_count(self) -> int:
        """The number of first samples that include all those in the preview."""
        if isinstance(self._reference.images.space, Points):
            return min(PREVIEW_POINTS, self._settings.num_samples)
        if self._originals:
            return min(PREVIEW_ROWS // 2 * PREVIEW_COLUMNS, self._settings.num_samples)
        return int(self._preview_rows.max(initial=0)) + 1

    # --- artifacts -------------------------------------------------------------------------------

    def _artifacts(self, step: int) -> pathlib.Path:
        """The folder of one measurement, whose name differs from that of any other measurement."""
        found = self.identity(step)
        parts = [
            found["weights"], found["sampler"], f"cfg{found['cfg_scale']:g}",
            f"seed{found['seed']}", f"step{step}", found["features"].partition(":")[0],
            found["split"], found["num_samples"],
        ]  # fmt: skip
        # Data set, resize mode and the encoder's folder are too long to be read in a name.
        digest = hashlib.sha256(files.to_json({column: found[column] for column in record.KEY}))
        name = "_".join(str(part) for part in parts if part) + f"_{digest.hexdigest()[:8]}"
        return self._run.workdir / "eval" / "artifacts" / re.sub(r"[^\w.+-]", "-", name)

    def _write_pictures(self, folder: pathlib.Path, images: np.ndarray) -> None:
        real, preview = self._reference.images, folder / "preview.png"
        with pictures.attempt(preview):
            if isinstance(real.space, Points):
                pictures.plot_points(images[:PREVIEW_POINTS], real.images, preview)
            elif self._originals:
                self._save_pairs(images[: self._preview_count], preview)
            elif (rows := self._preview_rows).size:
                names = real.class_names[: rows.shape[1]]
                pictures.save_grid(images[rows], preview, column_headings=names)
        samples = folder / "samples"
        if self._settings.save_samples:
            shutil.rmtree(samples, ignore_errors=True)
            pictures.save_samples(images, self._labels, real.space, samples)

    def _save_pairs(self, images: np.ndarray, path: pathlib.Path) -> None:
        """Saves rows of inputs, each above the row of what was made of them."""
        columns = min(PREVIEW_COLUMNS, len(images))
        rows = len(images) // columns
        pairs = np.stack([self._inputs[: rows * columns], images[: rows * columns]])
        pairs = pairs.reshape(2, rows, columns, *images.shape[1:]).swapaxes(0, 1)
        grid = pairs.reshape(2 * rows, columns, *images.shape[1:])
        pictures.save_grid(grid, path, row_headings=["input", self._run.sampler_name] * rows)

    def _metadata(self, row: dict[str, Any], timings: dict[str, float]) -> dict[str, Any]:
        images = self._reference.images
        return {
            "row": row,
            "settings": dataclasses.asdict(self._settings),
            "timings": timings,
            "config": self._run.config.to_dict(),
            "reference_fingerprint": images.fingerprint,
            "reference_images": len(images),
            "feature_dimension": self._features.dimension,
            "feature_identity": self._features.identity,
            "jax": jax.__version__,
            "device_kind": jax.devices()[0].device_kind,
            "device_count": jax.device_count(),
        }

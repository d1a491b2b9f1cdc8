"""Scores checkpoints of a run: one compiled pass over samples, many metrics, one CSV row each."""

import dataclasses
import datetime
import functools
import logging
import pathlib
import shutil
import time
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import numpy as np
from tqdm import tqdm

from drifting import pictures
from drifting.core.errors import ConfigError, UserError, did_you_mean
from drifting.evaluation import collect, generation, report
from drifting.evaluation.features import FeatureFunction
from drifting.evaluation.measurement import (
    METRICS,
    OF_IMAGES,
    OF_VECTORS,
    Measurement,
    Reference,
)
from drifting.evaluation.metrics import inception_score, manifold
from drifting.evaluation.settings import ScoreSettings
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Pixels, Points

log = logging.getLogger(__name__)

LEAST_SAMPLES = {"is": inception_score.SPLITS, "prdc": manifold.NEIGHBOURS + 1}
PREVIEW_ROWS = 8
PREVIEW_COLUMNS = 10
PREVIEW_POINTS = 2000


class Scorable(Protocol):
    """What scoring needs of a run."""

    workdir: pathlib.Path
    config: Any
    sampler_name: str  # a word; "" of a generator that can be sampled in one way only

    def steps(self) -> list[int]: ...

    def restore(self, step: int) -> tuple[Any, dict[str, float]]: ...

    def sampler(self, cfg_scale: float, ema: bool) -> Any: ...

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
) -> list["Scorer"]:
    """A scorer for each guidance scale and seed; features, reference and programs are shared.

    Raises:
      ConfigError: the settings cannot be met.
    """
    _require_measurable(settings, images, function)
    if settings.num_samples <= function.dimension:
        log.warning(
            "%d samples for %d feature dimensions: the covariance is singular and the "
            "Frechet distance biased; compare it only with scores of as many samples",
            settings.num_samples,
            function.dimension,
        )
    sharding = run.batch_sharding(settings.batch_size)
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
    for scale in cfg_scales:
        program = generation.SampleProgram(
            run.sampler(scale, settings.ema), images.space, sharding
        )
        for seed in seeds:
            one = dataclasses.replace(settings, cfg_scale=scale, seed=seed)
            scorers.append(Scorer(run, reference, function, program, one))
    return scorers


def _require_measurable(
    settings: ScoreSettings, images: ImageSet, function: FeatureFunction
) -> None:
    """Before anything is generated: raises ConfigError for metrics that these data cannot have."""
    require_possible(settings)
    for name, least in LEAST_SAMPLES.items():
        if name in settings.metrics and settings.num_samples < least:
            raise ConfigError(
                f"--metrics {name} needs {least} samples or more, not {settings.num_samples}"
            )
    unfit = [name for name in settings.metrics if name in OF_IMAGES]
    if unfit and not isinstance(images.space, Pixels):
        fit = ", ".join(name for name in METRICS if name not in OF_IMAGES)
        raise ConfigError(
            f"--metrics {','.join(unfit)}: of images, and {images.source} holds "
            f"{images.space.noun}; these have {fit}"
        )
    if "is" in settings.metrics:
        _require_logits(function, images.images[:1])


def _require_logits(function: FeatureFunction, images: np.ndarray) -> None:
    """The Inception Score needs a classifier."""
    if jax.eval_shape(function.apply, images).logits is None:
        raise ConfigError(f"--metrics is needs a classifier's features; {function.name} are none")


class Scorer:
    """Scores checkpoints of one run with one setting; see `make_scorers`."""

    def __init__(
        self,
        run: Scorable,
        reference: Reference,
        function: FeatureFunction,
        program: generation.SampleProgram,
        settings: ScoreSettings,
    ):
        self._run, self._settings = run, settings
        self._reference, self._features, self._program = reference, function, program
        images = reference.images
        counts = np.bincount(images.labels, minlength=images.num_classes)
        self._labels = generation.class_balanced_labels(settings.num_samples, counts)

    @property
    def cfg_scale(self) -> float:
        return self._settings.cfg_scale

    def identity(self, step: int) -> dict[str, Any]:
        """The columns that tell one measurement from another, and its place."""
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

    def is_scored(self, rows: Sequence[dict[str, str]], step: int) -> bool:
        """Whether the table has every metric of this setting for a step."""
        measured = [METRICS[name][0] for name in self._settings.metrics]
        rows = [row for row in rows if all(row[column] for column in measured)]
        return report.is_scored(rows, self.identity(step))

    def score(self, step: int) -> dict[str, Any]:
        """Scores one checkpoint, writes its artifacts and appends its row.

        Raises:
          NonFiniteSamples: the generator gives NaN or infinity.
        """
        began = time.perf_counter()
        state, training = self._run.restore(step)
        collected, images = self._generate(state)
        generated = time.perf_counter() - began
        row = {
            "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **self.identity(step),
            **{k: v for k, v in training.items() if k in report.COLUMNS},
        }
        measurement = Measurement(
            self._reference, collected, images, self._labels, self._settings.seed
        )
        for name in self._settings.metrics:
            row |= measurement.metric(name)
        self._write_pictures(step, images)
        row["eval_seconds"] = round(time.perf_counter() - began, 3)
        timings = {"generation_and_features_seconds": round(generated, 3)}
        report.write_json(
            self._artifacts(step) / "eval_metadata.json", self._metadata(row, timings)
        )
        report.append_row(self._run.workdir / "eval" / "fid_metrics.csv", row)
        return row

    # --- generation ------------------------------------------------------------------------------

    def _generate(self, state: Any) -> tuple[collect.Collected, np.ndarray]:
        """The samples' description, and as many of the first images as somebody needs."""
        s = self._settings
        needs_all = s.save_samples or "neighbours" in s.metrics  # of pixels, not of features
        count = s.num_samples if needs_all else self._preview_count
        real = self._reference.images.images
        images = np.empty((count, *real.shape[1:]), real.dtype)
        collector = collect.Collector(
            self._features.dimension, bool(OF_VECTORS & set(s.metrics))
        )
        done = 0
        batches = self._program.batches(
            state, jax.random.key(s.seed), self._labels, s.batch_size, self._features.apply
        )
        with tqdm(total=s.num_samples, unit="image", desc="generate", leave=False) as bar:
            for generated in batches:
                collector.add(generated.described)
                size = len(generated.images)
                if done < count:
                    part = np.asarray(generated.images)[: count - done]
                    images[done : done + len(part)] = part
                done += size
                bar.update(size)
        return collector.collected(), images

    @functools.cached_property
    def _preview_rows(self) -> np.ndarray:
        """Which samples the preview shows: [rows, columns], a column for each of ten classes."""
        columns = min(self._reference.images.num_classes, PREVIEW_COLUMNS)
        rows = [np.flatnonzero(self._labels == c)[:PREVIEW_ROWS] for c in range(columns)]
        height = min(map(len, rows))
        return np.stack([r[:height] for r in rows], axis=1)

    @property
    def _preview_count(self) -> int:
        """How many of the first samples hold all that the preview shows."""
        if isinstance(self._reference.images.space, Points):
            return min(PREVIEW_POINTS, self._settings.num_samples)
        return int(self._preview_rows.max(initial=0)) + 1

    # --- artifacts -------------------------------------------------------------------------------

    def _artifacts(self, step: int) -> pathlib.Path:
        s = self._settings
        sampler = f"{self._run.sampler_name}_" if self._run.sampler_name else ""
        weights = "ema" if s.ema else "raw"
        name = f"{weights}_{sampler}cfg{s.cfg_scale:g}_seed{s.seed}_step{step}"
        folder = self._run.workdir / "eval" / "artifacts" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _write_pictures(self, step: int, images: np.ndarray) -> None:
        folder, real = self._artifacts(step), self._reference.images
        rows = self._preview_rows
        if isinstance(real.space, Points):
            pictures.plot_points(images[:PREVIEW_POINTS], real.images, folder / "preview.png")
        elif rows.size:
            names = real.class_names[: rows.shape[1]]
            pictures.save_grid(images[rows], folder / "preview.png", column_headings=names)
        samples = folder / "samples"
        if self._settings.save_samples or self._settings.cleanup_samples:
            shutil.rmtree(samples, ignore_errors=True)
        if self._settings.save_samples:
            pictures.save_samples(images, self._labels, real.space, samples)

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


class Session:
    """Scores checkpoints of one run with one setting or several.

    Args:
      run: the run.
      scorers: one for each setting (guidance scale, seed).
      skip_existing: leave out what the table holds already.
    """

    def __init__(self, run: Scorable, scorers: Sequence[Scorer], skip_existing: bool):
        self._run, self._scorers, self._skip = run, scorers, skip_existing
        self._table = run.workdir / "eval" / "fid_metrics.csv"

    def score(self, which: str) -> None:
        """Scores what `which` names, step by step, and redraws fid_vs_step.png after each.

        Raises:
          ConfigError: `which` names no checkpoint; those that exist are listed.
        """
        for step in self._choose(which):
            self.score_step(step)
        log.info("scores: %s", self._table)

    def score_step(self, step: int) -> None:
        """Scores the checkpoint of a step by each setting."""
        distances = []
        for scorer in self._scorers:
            if self._skip and scorer.is_scored(report.read_rows(self._table), step):
                log.info("step %d is scored already", step)
                continue
            row = scorer.score(step)
            log.info(describe_row(row))
            distances.append(row.get("frechet_distance"))
        self._spread(step, distances)
        self._draw()

    def watch(self, total_steps: int, poll_seconds: float = 10.0) -> None:
        """Scores new checkpoints as they appear, until that of total_steps is scored."""
        log.info("watching %s until step %d", self._run.workdir, total_steps)
        seen = set(self._run.steps())
        while max(seen) < total_steps:
            new = sorted(set(self._run.steps()) - seen)
            for step in new:
                self._score_while_it_is_there(step)
            seen.update(new)
            if not new:
                time.sleep(poll_seconds)

    def _score_while_it_is_there(self, step: int) -> None:
        """A running job may remove a checkpoint, by its keep policy, before its turn comes."""
        try:
            self.score(str(step))
        except UserError:
            if step in self._run.steps():
                raise
            log.warning("step %d was removed before it was scored", step)

    def _choose(self, which: str) -> list[int]:
        steps = self._run.steps()
        if which in ("last", "all"):
            return steps if which == "all" else steps[-1:]
        if which == "best":
            return [self._best(steps)]
        try:
            asked = [int(s) for s in which.split(",")]
        except ValueError:
            raise ConfigError(
                f"--checkpoints {which}: expected last, all, best, or steps separated by commas"
            ) from None
        missing = [s for s in asked if s not in steps]
        if missing:
            raise ConfigError(
                f"{self._run.workdir} has no checkpoint of steps {missing}; has {steps}"
            )
        return asked

    def _best(self, steps: list[int]) -> int:
        """The step of the least Frechet distance in the table, of these features."""
        wanted = self._scorers[0].identity(steps[-1])
        rows = [
            row
            for row in report.read_rows(self._table)
            if row["frechet_distance"]
            and int(row["step"]) in steps
            and (row["features"], row["fid_mode"]) == (wanted["features"], wanted["fid_mode"])
        ]
        if not rows:
            raise ConfigError(
                "--checkpoints best: no checkpoint is scored with these features yet; score "
                "with --checkpoints all first"
            )
        return int(min(rows, key=lambda row: float(row["frechet_distance"]))["step"])

    def _spread(self, step: int, distances: list[float | None]) -> None:
        """Mean and deviation over the settings of a call that differ in the seed alone."""
        values = [d for d in distances if d is not None]
        if len(values) > 1 and len({s.cfg_scale for s in self._scorers}) == 1:
            mean, deviation = np.mean(values), np.std(values, ddof=1)
            log.info(
                "step %d over %d seeds: Frechet distance %.4g +- %.2g",
                step, len(values), mean, deviation,
            )  # fmt: skip

    def _draw(self) -> None:
        rows = report.read_rows(self._table)
        if any(row["frechet_distance"] for row in rows):
            pictures.plot_metric_vs_step(rows, self._table.with_name("fid_vs_step.png"))


def score_folders(
    real: ImageSet,
    fake: ImageSet,
    function: FeatureFunction,
    settings: ScoreSettings,
    sharding: jax.sharding.NamedSharding,
) -> dict[str, Any]:
    """Every metric of one set of images against another, by column of the table.

    Raises:
      ConfigError: images of two sizes, and features that do not resize.
    """
    if not function.mode and real.space != fake.space:  # nothing brings them to one size
        raise ConfigError(
            f"{function.name} of {real.space.shape} and {fake.space.shape} cannot be compared"
        )
    began = time.perf_counter()
    if "is" in settings.metrics:
        _require_logits(function, fake.images[:1])
    size = settings.batch_size
    reference = Reference(
        real, None, function, batch_size=size, heldout_count=0, sharding=sharding
    )
    collected = collect.describe_images(
        collect.split(fake.images, size),
        fake.space,
        function,
        total=len(fake),
        batch_size=size,
        keep_vectors=bool(OF_VECTORS & set(settings.metrics)),
        sharding=sharding,
        what=f"{function.name} of {fake.source}",
    )
    measurement = Measurement(reference, collected, fake.images, None, settings.seed)
    row = {"real": real.source, "fake": fake.source, "features": function.name,
           "fid_mode": function.mode, "num_real": len(real), "num_fake": len(fake)}  # fmt: skip
    for name in settings.metrics:
        row |= measurement.metric(name)
    return row | {"eval_seconds": round(time.perf_counter() - began, 3)}


def require_possible(settings: ScoreSettings) -> None:
    """Raises ConfigError for settings that cannot be, whatever is scored."""
    settings.check()
    for name in settings.metrics:
        if name not in METRICS:
            hint = did_you_mean(name, METRICS)
            raise ConfigError(f"unknown metric {name!r}, known: {', '.join(METRICS)}{hint}")


def describe_row(row: dict[str, Any]) -> str:
    """What was measured, as one line for people."""
    mode = f", {row['fid_mode']}" if row["fid_mode"] else ""
    parts = [f"step {row['step']}"]
    if row.get("sampler"):
        parts.append(f"{row['sampler']} at {row['nfe']} NFE")
    if row.get("frechet_distance") is not None:
        parts.append(f"Frechet distance ({row['features']}{mode}) {row['frechet_distance']:.4g}")
    for column in ("kid", "inception_score"):
        if row.get(column) is not None:
            parts.append(f"{column} {row[column]:.4g} +- {row[column + '_std']:.2g}")
    for column in ("precision", "recall", "density", "coverage", "mifid"):
        if row.get(column) is not None:
            parts.append(f"{column} {row[column]:.4g}")
    if row.get("energy_distance") is not None:
        floor = row["energy_distance_real"]
        parts.append(f"energy distance {row['energy_distance']:.4g} (of real sets: {floor:.2g})")
    if row.get("knn_accuracy") is not None:
        parts.append(f"3-NN label accuracy {row['knn_accuracy']:.1%}")
    if row.get("nn_distance_samples") is not None:
        text = f"median distance to the nearest real image {row['nn_distance_samples']:.3g}"
        if row.get("nn_distance_heldout") is not None:
            text += f" (held-out real: {row['nn_distance_heldout']:.3g})"
        parts.append(text)
    return ", ".join((*parts, f"{row['eval_seconds']:.1f} s"))

"""Frechet distances of generators by training step, for the same seed, budget and metric."""

import pathlib
import runpy
import shutil
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from drifting import pictures
from drifting.core import config as config_lib
from drifting.core import durations
from drifting.core.errors import did_you_mean
from drifting.core.files import write_atomically
from drifting.evaluation import record
from drifting.suites import tables
from drifting.suites.suite import ROOT, RunSpec, SuiteError
from drifting.suites.tables import Programs, Row
from drifting.training import writers

# Keys in which all runs of a table have to agree.
ALIKE = (
    "seed", "data.source", "data.split", "data.image_size", "train.total_steps",
    "train.checkpoint_steps", "eval.num_samples", "eval.cfg_scale", "eval.seed", "eval.features",
    "eval.fid_mode",
)  # fmt: skip
FIRST_COLUMNS = ("name", "config", "field", "objective", "set_size")
LAST_COLUMNS = (
    "last", "last_step", "best", "best_step", "step_ms", "train_seconds", *tables.OUTCOME,
    "workdir",
)  # fmt: skip


class ScoreTable(tables.Table):
    """ablation.csv, ablation.md and ablation.png.

    Args:
      features: of the scores, in place of those in the configs (config.eval.features).

    Attributes:
      configs: the config of each run with its overrides, by name.
      steps: the steps of the checkpoints, all of which are scored.
    """

    csv_name, markdown_name = "ablation.csv", "ablation.md"

    def __init__(self, runs: Sequence[RunSpec], out: pathlib.Path, features: str | None = None):
        super().__init__(runs, out)
        self._features = features
        self.configs = {run.name: resolve(run) for run in runs}
        self.steps = _scored_steps({run.name: self.configs[run.name] for run in self.runs})
        self.columns = (*FIRST_COLUMNS, *map(_column, self.steps), *LAST_COLUMNS)
        self._trained_here = {self.workdir(run).absolute(): run.config for run in runs}

    def commands(self, run: RunSpec, programs: Programs) -> list[list[str]]:
        training = super().commands(run, programs)
        if not run.in_table:
            return training
        workdir = self.workdir(run).absolute()
        scoring = ["--workdir", str(workdir), "--checkpoints", "all", "--skip_existing"]
        if self._features:
            scoring += ["--features", self._features]
        last = workdir / "checkpoints" / str(self.steps[-1]) / "manifest.json"
        return [*([] if last.is_file() else training), [*programs.evaluate, *scoring]]

    def read_scores(self, run: RunSpec) -> dict[int, float]:
        """The Frechet distance by step; ignores scores with other settings than the suite's."""
        config = self.configs[run.name]
        wanted = {key: config.eval[key] for key in ("num_samples", "cfg_scale", "seed")}
        wanted["features"] = self._features or config.eval.features
        wanted |= {"data_set": config.data.source, "split": config.data.split, "weights": "ema"}
        return {
            row["step"]: row["frechet_distance"]
            for row in record.read(self.workdir(run))
            if row["frechet_distance"] is not None
            and wanted.items() <= row.items()
            and row["fid_mode"] in (None, "", config.eval.fid_mode)  # empty: nothing is resized
        }

    def _read_result(self, run: RunSpec) -> Row | None:
        scores = self.read_scores(run)
        return summarize(scores) if set(self.steps) <= scores.keys() else None

    def _headline(self, result: Row) -> str:
        return (
            f"Frechet distance {result['last']:.4g} at step {result['last_step']}, best "
            f"{result['best']:.4g} at step {result['best_step']}"
        )

    def _cells(self, run: RunSpec) -> Row:
        config, scores = self.configs[run.name], self.read_scores(run)
        field = config.method.get("field", "")
        # Samples and positives per class in a step.
        sizes = [config.method.get(key, "") for key in ("num_generated", "num_positives")]
        return {
            "config": run.config,
            "field": field,
            "objective": config.field.objective if field == "learned" else "",
            "set_size": "/".join(dict.fromkeys(map(str, sizes))),
            **{_column(step): scores[step] for step in self.steps if step in scores},
            **summarize(scores),
            **read_speed(self.workdir(run)),
        }

    def _write_summary(self, rows: Sequence[Row]) -> None:
        """Also removes the pictures that scoring wrote for the checkpoints of finished runs."""
        write_atomically(self.out / self.markdown_name, self._markdown(rows))
        scores = {run.name: self.read_scores(run) for run in self.runs}
        lines = {name: (list(s), list(s.values())) for name, s in scores.items() if s}
        if lines:
            path = self.out / "ablation.png"
            with pictures.attempt(path):
                pictures.plot_lines(lines, path, "Frechet distance", log_scale=True)
        for row in rows:
            if row["status"] == "finished":  # others may be in use
                artifacts = self.out / row["name"] / "eval" / "artifacts"
                shutil.rmtree(artifacts, ignore_errors=True)

    def _markdown(self, rows: Sequence[Row]) -> bytes:
        header = ("run", "field", "objective", "set size", *(f"{step:,}" for step in self.steps),
                  "best (step)", "ms per step", "training")  # fmt: skip
        cells = [
            (row["name"], row["field"], row["objective"], row["set_size"],
             *(_number(row.get(_column(step)), ".4g") for step in self.steps),
             f"{row['best']:.4g} ({row['best_step']:,})" if "best" in row else "",
             _milliseconds(row.get("step_ms")), _duration(row.get("train_seconds")))
            for row in rows
        ]  # fmt: skip
        return tables.to_markdown(header, cells, self._caption(), rows)

    def _caption(self) -> str:
        config = self.configs[self.runs[0].name]
        features = self._features or config.eval.features
        kind, _, workdir = features.partition(":")
        if kind == "encoder":
            path = pathlib.Path(workdir)
            features = f"encoder {self._trained_here.get(path, path.name)}"
        return (
            f"Frechet distance by training step on {config.data.source}; features: {features}; "
            f"{config.eval.num_samples:,} samples of the averaged weights, cfg_scale "
            f"{config.eval.cfg_scale:g}, seed {config.seed}. Training time excludes compilation "
            "and scoring."
        )


# --- the config of a run ------------------------------------------------------------------------


def resolve(run: RunSpec) -> ConfigDict:
    """The config of a run with its overrides.

    Raises:
      SuiteError: the file cannot be read, or an override is invalid.
    """
    file, _, argument = run.config.partition(":")
    try:
        get_config = runpy.run_path(str(ROOT / file))["get_config"]
        config = get_config(argument) if argument else get_config()
    except Exception as error:  # whatever the file does wrong
        raise SuiteError(f"{run.config}: {type(error).__name__}: {error}") from error
    known = config_lib.flatten(config)
    for key in run.overrides:
        if key not in known:
            hint = did_you_mean(key, known)
            raise SuiteError(f"unknown key {key!r} of the run {run.name!r}{hint}")
    try:
        config.update_from_flattened_dict(dict(run.overrides))
    except (TypeError, ValueError) as error:
        raise SuiteError(f"the run {run.name!r}: {error}") from error
    durations.choose_units(config, dict(run.overrides))
    return config


def _scored_steps(configs: Mapping[str, ConfigDict]) -> list[int]:
    """The steps of the checkpoints that every run keeps.

    Raises:
      SuiteError: the runs are not comparable, or one may delete checkpoints before they are scored.
    """
    flat = {name: config_lib.flatten(config) for name, config in configs.items()}
    first = next(iter(flat))
    for name, values in flat.items():
        for key in ALIKE:
            here, there = values[key], flat[first][key]
            if here != there:
                raise SuiteError(
                    f"{key} is {there} in {first!r} but {here} in {name!r}, so these cannot be "
                    "compared; use the same value in all runs"
                )
        total, every = values["train.total_steps"], values["train.checkpoint_steps"]
        if not total or not every:
            raise SuiteError(f"{name!r} needs train.total_steps and train.checkpoint_steps")
        # train.keep_checkpoints would not do: checkpoints of an interrupted run count in it too.
        kept = values["train.keep_every_steps"]
        if not kept or every % kept:
            raise SuiteError(
                f"{name!r} may delete checkpoints before they are scored; set "
                f"train.keep_every_steps to {every}, which is its train.checkpoint_steps"
            )
    return [*range(0, total, every), total]


# --- numbers ------------------------------------------------------------------------------------


def summarize(scores: Mapping[int, float]) -> dict[str, Any]:
    """The last and the best score and their steps; empty if there are no scores."""
    if not scores:
        return {}
    last, best = max(scores), min(scores, key=lambda step: (scores[step], step))
    return {"last": scores[last], "last_step": last, "best": scores[best], "best_step": best}


def read_speed(workdir: pathlib.Path) -> dict[str, float]:
    """The median step_ms, and the train_seconds of all steps; empty if nothing was logged."""
    rows = [row for row in writers.read_metrics(workdir / "metrics.jsonl") if "step_ms" in row]
    if not rows:
        return {}
    before = [0, *(row["step"] for row in rows)]
    seconds = sum(  # each row has the mean since the previous row
        row["step_ms"] * (row["step"] - start) / 1000
        for row, start in zip(rows, before, strict=False)
    )
    median = statistics.median(row["step_ms"] for row in rows)
    return {"step_ms": round(median, 3), "train_seconds": round(seconds, 1)}


def _column(step: int) -> str:
    return f"frechet_{step}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _milliseconds(value: float | None) -> str:
    return _number(value, ".3g" if value is None or value < 1000 else ",.0f")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"

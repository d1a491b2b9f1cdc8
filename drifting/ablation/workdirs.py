"""What the folder of a run says: its scores, and how fast it was trained."""

import json
import pathlib
import statistics
from typing import Any

from drifting.ablation.plan import AblationRun
from drifting.evaluation import report
from drifting.training import writers


def read_scores(run: AblationRun, workdir: pathlib.Path) -> dict[int, float]:
    """The Frechet distance by step, as the suite measures it; other rows of the CSV are left."""
    wanted = _measure(run)
    rows = report.read_rows(workdir / "eval" / "fid_metrics.csv")
    return {
        int(row["step"]): float(row["frechet_distance"])
        for row in rows
        if row["frechet_distance"] and all(row[key] == value for key, value in wanted.items())
    }


def _measure(run: AblationRun) -> dict[str, str]:
    config = run.resolved
    keys = ("features", "num_samples", "cfg_scale", "seed")
    return {
        **{key: str(config.eval[key]) for key in keys},
        "data_set": config.data.source,
        "split": config.data.split,
        "weights": "ema",
    }


def read_result(run: AblationRun, workdir: pathlib.Path) -> dict[str, Any] | None:
    """The scores in short; None where one is missing."""
    scores = read_scores(run, workdir)
    if not set(run.scored_steps) <= scores.keys():
        return None
    return summarize(scores)


def summarize(scores: dict[int, float]) -> dict[str, Any]:
    """The last and the best of some scores; empty where there are none."""
    if not scores:
        return {}
    last, best = max(scores), min(scores, key=lambda step: (scores[step], step))
    return {"last": scores[last], "last_step": last, "best": scores[best], "best_step": best}


def is_trained(run: AblationRun, workdir: pathlib.Path) -> bool:
    """Whether there is a checkpoint of the last step."""
    step = run.resolved.train.total_steps
    return (workdir / "checkpoints" / str(step) / "manifest.json").is_file()


def read_encoder(workdir: pathlib.Path) -> dict[str, Any] | None:
    """The test scores of a trained encoder; None where it is not finished."""
    try:
        found = json.loads((workdir / "test.json").read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def read_speed(workdir: pathlib.Path) -> dict[str, float]:
    """step_ms, the median, and train_seconds, of all steps; empty where nothing was logged."""
    rows = [row for row in writers.read_metrics(workdir / "metrics.jsonl") if "step_ms" in row]
    if not rows:
        return {}
    before = [0, *(row["step"] for row in rows)]
    seconds = sum(  # each row has the mean since the one before
        row["step_ms"] * (row["step"] - start) / 1000
        for row, start in zip(rows, before, strict=False)
    )
    median = statistics.median(row["step_ms"] for row in rows)
    return {"step_ms": round(median, 3), "train_seconds": round(seconds, 1)}

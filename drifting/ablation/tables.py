"""The results of an ablation as CSV, Markdown and a picture."""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from drifting import pictures
from drifting.ablation import workdirs
from drifting.ablation.plan import Ablation, AblationRun
from drifting.core.files import write_atomically
from drifting.matrix import outcomes
from drifting.matrix.outcomes import Row

FIRST_COLUMNS = ("name", "config", "field", "objective", "set_size")
LAST_COLUMNS = (
    "last", "last_step", "best", "best_step", "step_ms", "train_seconds",
    *outcomes.OUTCOME, "workdir",
)  # fmt: skip


def make_rows(plan: Ablation, out: pathlib.Path, ended: Mapping[str, Row]) -> list[Row]:
    """A row a run with its scores by step as `frechet_<step>`; read from the runs' own files.

    Args:
      ended: how runs ended, by name: the cells of outcomes.OUTCOME.
    """
    rows = []
    for run in plan.runs:
        workdir = out / run.name
        scores = workdirs.read_scores(run, workdir)
        finished = workdirs.read_result(run, workdir) is not None
        rows.append({
            "name": run.name,
            "config": run.config,
            **_describe(run),
            **{_column(step): scores[step] for step in run.scored_steps if step in scores},
            **workdirs.summarize(scores),
            **workdirs.read_speed(workdir),
            **outcomes.cells(finished, ended.get(run.name, {})),
            "workdir": str(workdir),
        })  # fmt: skip
    return rows


def _column(step: int) -> str:
    return f"frechet_{step}"


def _describe(run: AblationRun) -> dict[str, str]:
    """The field, its objective, and how many samples and positives of a class meet in a step."""
    config = run.resolved
    field = config.method.get("field", "")
    sizes = (config.method.get("num_generated", ""), config.method.get("num_positives", ""))
    return {
        "field": field,
        "objective": config.field.objective if field == "learned" else "",
        "set_size": "/".join(dict.fromkeys(map(str, sizes))),
    }


def write(plan: Ablation, rows: Sequence[Row], out: pathlib.Path) -> None:
    """Writes ablation.csv, ablation.md and ablation.png, each whole or not at all."""
    columns = (*FIRST_COLUMNS, *map(_column, plan.runs[0].scored_steps), *LAST_COLUMNS)
    write_atomically(out / "ablation.csv", outcomes.to_csv(rows, columns))
    write_atomically(out / "ablation.md", _markdown(plan, rows).encode())
    scores = {run.name: workdirs.read_scores(run, out / run.name) for run in plan.runs}
    lines = {name: _line(by_step) for name, by_step in scores.items() if by_step}
    if lines:
        pictures.plot_lines(lines, out / "ablation.png", "Frechet distance", log_scale=True)


def _line(by_step: Mapping[int, float]) -> tuple[list[int], list[float]]:
    return list(by_step), list(by_step.values())


def _markdown(plan: Ablation, rows: Iterable[Row]) -> str:
    """The table for people, the scores under the steps that they were measured at."""
    steps = plan.runs[0].scored_steps
    header = ("run", "field", "objective", "set size", *(f"{step:,}" for step in steps),
              "best (step)", "ms a step", "training")  # fmt: skip
    table = [
        (row["name"], row["field"], row["objective"], row["set_size"],
         *(_number(row.get(_column(step)), ".4g") for step in steps),
         _best(row), _milliseconds(row.get("step_ms")), _duration(row.get("train_seconds")))
        for row in rows
    ]  # fmt: skip
    lines = [*outcomes.to_markdown(header, table), "", _caption(plan)]
    return "\n".join([*lines, *outcomes.unfinished_markdown(rows), ""])


def _number(value: Any, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _best(row: Row) -> str:
    return f"{row['best']:.4g} ({row['best_step']:,})" if "best" in row else ""


def _milliseconds(value: float | None) -> str:
    return _number(value, ".3g" if value is None or value < 1000 else ",.0f")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _caption(plan: Ablation) -> str:
    config = plan.runs[0].resolved
    return (
        f"Frechet distance by training step on {config.data.source}; features: {plan.features}; "
        f"{config.eval.num_samples:,} samples of the averaged weights, cfg_scale "
        f"{config.eval.cfg_scale:g}, seed {config.seed}. Training without compilation and scoring."
    )

"""A session of scoring: which checkpoints, by which scorers, and when."""

import logging
import time
from collections.abc import Sequence

import numpy as np

from drifting import pictures
from drifting.core.errors import ConfigError, UserError
from drifting.evaluation import description, report
from drifting.evaluation.scorer import Scorable, Scorer

log = logging.getLogger(__name__)


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
            log.info(description.of_row(row))
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

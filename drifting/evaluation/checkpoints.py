"""Which checkpoints of a run are scored, and when."""

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np

from drifting.core.errors import ConfigError, UserError
from drifting.evaluation import metrics, record, summary
from drifting.evaluation.metric import Metric, Row
from drifting.evaluation.scorer import Scorable, Scorer

log = logging.getLogger(__name__)


class CheckpointEvaluator:
    """Scores checkpoints of one run with one or several settings.

    Args:
      run: the run.
      scorers: of a step: one for each setting (guidance scale, seed).
      skip_existing: whether to skip measurements that the record already has.
      best: () -> the step of the run's best checkpoint. Without it, that is the one with the
        lowest score among those with the settings of the scorers.
    """

    def __init__(
        self,
        run: Scorable,
        scorers: Callable[[int], Sequence[Scorer]],
        skip_existing: bool,
        best: Callable[[], int] | None = None,
    ):
        self._run, self._scorers, self._skip, self._given_best = run, scorers, skip_existing, best
        self._seen = set(run.steps())  # those that `watch` need not score

    def score(self, which: str) -> None:
        """Scores the checkpoints that `which` names, in order of their steps.

        One that a running job removes meanwhile, by its keep policy, is passed over. If that
        leaves none, there are newer ones to choose from.

        Raises:
          ConfigError: `which` names no checkpoint; the message lists those that exist.
        """
        record.draw(self._run.workdir)
        while not any([self._score_unless_removed(step) for step in self._choose(which)]):
            pass
        log.info("scores: %s", self._run.workdir / record.TABLE)

    def score_step(self, step: int) -> None:
        """Scores the checkpoint of one step with each setting."""
        rows, scorers = [], self._scorers(step)
        for scorer in scorers:
            if self._skip and scorer.is_scored(record.read(self._run.workdir), step):
                log.info("step %d is scored already", step)
                continue
            rows.append(scorer.score(step))
            log.info(summary.one_line(rows[-1]))
        self._log_spread(step, scorers, rows)

    def watch(self, total_steps: int, poll_seconds: float = 10.0) -> None:
        """Scores new checkpoints as they appear, until that of total_steps is scored."""
        log.info("watching %s until step %d", self._run.workdir, total_steps)
        while max(self._seen) < total_steps:
            new = sorted(set(self._run.steps()) - self._seen)
            for step in new:
                self._score_unless_removed(step)
            self._seen.update(new)
            if not new:
                time.sleep(poll_seconds)

    def _score_unless_removed(self, step: int) -> bool:
        """Scores a step; returns False if a running job removes its checkpoint first."""
        try:
            self.score_step(step)
        except UserError:
            if step in self._run.steps():
                raise
            log.warning("step %d was removed before it was scored", step)
            return False
        return True

    def _choose(self, which: str) -> list[int]:
        steps = self._run.steps()
        if not steps:
            raise ConfigError(f"{self._run.workdir} has no checkpoint")
        self._seen.update(steps)
        if which in ("last", "all"):
            return steps if which == "all" else steps[-1:]
        if which == "best":
            return [self._given_best() if self._given_best else self._best(steps)]
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
        """The step with the lowest score in the record, among scores with the settings asked for.

        What is not asked for is as in the config of the newest checkpoint. Of several seeds the
        mean counts, and of several guidance scales the best one.
        """
        scorers = self._scorers(steps[-1])
        ranking = _ranking(scorers)
        rows, column = record.read(self._run.workdir), ranking.ranks_by
        settings = [scorer.identity(steps[-1]) for scorer in scorers]
        means = [record.mean_by_step(rows, setting, column) for setting in settings]
        scored = [(score, step) for m in means for step, score in m.items() if step in steps]
        if not scored:
            asked = ", ".join(f"{name} {settings[0][name]}" for name in record.SETTING)
            raise ConfigError(
                f"--checkpoints best: no checkpoint has a {column} with these settings yet "
                f"({asked}); score with --checkpoints all --metrics {ranking.name} first, "
                "and otherwise the same flags"
            )
        return min(scored)[1]

    def _log_spread(self, step: int, scorers: Sequence[Scorer], rows: Sequence[Row]) -> None:
        """Logs mean and standard deviation over settings that differ in the seed alone."""
        column = _ranking(scorers).ranks_by
        values = [row[column] for row in rows if row.get(column) is not None]
        if len(values) > 1 and len({s.cfg_scale for s in scorers}) == 1:
            log.info(
                "step %d over %d seeds: %s %.4g +- %.2g",
                step, len(values), column, np.mean(values), np.std(values, ddof=1),
            )  # fmt: skip


def _ranking(scorers: Sequence[Scorer]) -> Metric:
    return metrics.ranking(scorers[0].metrics)

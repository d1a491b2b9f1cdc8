"""Means of the metrics over each epoch, however the run was stopped and resumed within it."""

from typing import Any

from drifting.training.meters import NOT_AVERAGED
from drifting.training.schedule import Schedule

PREFIX = "avg_"


class Epoch:
    """The current epoch, or the one that has just ended.

    Args:
      step: that the run starts at.
      saved: the metrics of the checkpoint that it resumes from; its part of the epoch counts.
    """

    def __init__(self, schedule: Schedule, step: int, saved: dict[str, float]):
        self._schedule = schedule
        self.steps = int(saved.get("num_batches", 0))
        means = {k: v for k, v in saved.items() if k.startswith(PREFIX)} if self.steps else {}
        self._sums = {k.removeprefix(PREFIX): v * self.steps for k, v in means.items()}
        self._ended = step > 0 and schedule.epochs(step) > schedule.epochs(step - 1)

    def add(self, sums: dict[str, Any], steps: int, seconds: float, after: int) -> bool:
        """Adds a call of the program; returns whether an epoch ended in it.

        A call ends with the epoch, unless epochs are shorter than calls: these share a row.

        Args:
          sums: of the metrics over the steps of the call.
          after: the step after it.
        """
        sums = {k: float(v) for k, v in sums.items() if k not in NOT_AVERAGED}
        sums["step_ms"] = 1000 * seconds
        if self._ended or self._sums.keys() != sums.keys():  # a changed config has other metrics
            self.steps, self._sums = 0, dict.fromkeys(sums, 0.0)
        self.steps += steps
        self._sums = {name: total + sums[name] for name, total in self._sums.items()}
        self._ended = self._schedule.epochs(after) > self._schedule.epochs(after - steps)
        return self._ended

    def means(self) -> dict[str, float]:
        """The number of steps, and avg_<metric> over them; empty before the first step."""
        if not self.steps:
            return {}
        means = {f"{PREFIX}{name}": total / self.steps for name, total in self._sums.items()}
        return {"num_batches": self.steps, **means}

    def row(self, after: int) -> dict[str, float]:
        """The row of epochs.jsonl when an epoch ended in the call before the step `after`."""
        seconds = self._sums["step_ms"] / 1000
        return {"epoch": self._schedule.epochs(after), "seconds": seconds, **self.means()}

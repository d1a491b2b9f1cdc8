"""The schedule of a run in steps, from the durations of config.train."""

import dataclasses
import math
from typing import Any

from drifting.core import config as config_lib
from drifting.core import durations
from drifting.core.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Settings:
    """The keys of config.train. Exactly one unit of each duration is set; the others are None."""

    total_steps: int | None = 50_000  # the run's length
    total_epochs: float | None = None
    total_examples: int | None = None  # real images seen
    log_steps: int | None = 50  # between rows of metrics
    log_epochs: float | None = None
    log_examples: int | None = None
    sample_steps: int | None = 1000  # between pictures
    sample_epochs: float | None = None
    sample_examples: int | None = None
    checkpoint_steps: int | None = 2000  # between checkpoints
    checkpoint_epochs: float | None = None
    checkpoint_examples: int | None = None
    steps_per_epoch: int = 0  # 0: images of the data set / real images per step
    steps_per_call: int = 10  # steps per dispatch; the host does nothing in between
    plot_steps: int = 50  # between drawings of the plots in summary/; 0: no plots
    keep_checkpoints: int = 3  # how many of the newest are kept, besides the best validated one
    keep_every_steps: int = 0  # checkpoints at multiples of this are kept as well; 0: none
    tensorboard: bool = True  # write event files
    telemetry: bool = True  # log memory, and on NVIDIA GPUs utilization, power and temperature
    evaluate: bool = False  # score each checkpoint as it is saved, by config.eval

    def check(self) -> None:
        """Raises ConfigError for counts that are too small; durations are checked by `make`."""
        counts = {"steps_per_call": 1, "keep_checkpoints": 1, "keep_every_steps": 0}
        for key, least in {**counts, "plot_steps": 0}.items():
            if vars(self)[key] < least:
                raise ConfigError(
                    f"config.train.{key} = {vars(self)[key]} is less than {least}; increase it"
                )


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When the loop does what, in steps.

    Attributes:
      total: the length of the run.
      log, sample, checkpoint: intervals.
      per_call: maximum steps per dispatch.
      per_epoch: the length of an epoch, which may be a fraction; infinite for data that do not end.
      plot: interval; 0: never.
    """

    total: int
    log: int
    sample: int
    checkpoint: int
    per_call: int
    per_epoch: float
    plot: int = 0

    def next_stop(self, step: int) -> int:
        """The step at which the next call ends: the next event, or after per_call steps."""
        intervals = filter(None, (self.log, self.sample, self.checkpoint, self.plot))
        events = [(step // n + 1) * n for n in intervals]
        if self.per_call <= self.per_epoch < math.inf:  # shorter ones would cost a dispatch each
            events.append(self._epoch_end(step))
        return min(step + self.per_call, self.total, *events)

    def epoch_at(self, step: int) -> dict[str, float]:
        """The cell `epoch` of rows of metrics; none where there are no epochs."""
        return {"epoch": step / self.per_epoch} if self.per_epoch < math.inf else {}

    def epochs(self, step: int) -> int:
        """The number of whole epochs before a step."""
        return int(step / self.per_epoch * (1 + 1e-12))  # 12 epochs of 50000 / 192 are 3125 steps

    def _epoch_end(self, step: int) -> int:
        """The first step after `step` with more whole epochs before it."""
        done = self.epochs(step)
        end = max(step + 1, int((done + 1) * self.per_epoch))
        while self.epochs(end) == done:
            end += 1
        return end

    def due(self, step: int, interval: int) -> bool:
        return step % interval == 0 or step == self.total

    def plot_due(self, step: int) -> bool:
        """Whether to plot during training; the end of a run is plotted anyway."""
        return self.plot > 0 and step % self.plot == 0 and step < self.total


def make(train: Any, images_per_step: int, num_images: int | None) -> Schedule:
    """The schedule of config.train.

    Args:
      images_per_step: real images seen per step.
      num_images: of the data set; None if it has no length.

    Raises:
      ConfigError: a duration does not have exactly one unit, or is shorter than one step.
    """
    config_lib.typed(Settings, train, "train").check()
    steps = {
        name: durations.to_steps(train, name, images_per_step, num_images)
        for name in durations.DURATIONS
    }
    per_epoch = durations.steps_per_epoch(train, images_per_step, num_images)
    return Schedule(
        **steps, per_call=train.steps_per_call, per_epoch=per_epoch, plot=train.plot_steps
    )

"""When a run does what, in steps, from the durations of config.train."""

import dataclasses
from typing import Any

from drifting.core import durations
from drifting.core.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Settings:
    """The keys of config.train. Of the units of a duration one is set, the others are None."""

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
    steps_per_epoch: int = 0  # 0: images of the data set / real images a step
    steps_per_call: int = 10  # steps a dispatch; the host looks in between
    keep_checkpoints: int = 3  # the newest that stay; the best of a scored method stays too
    keep_every_steps: int = 0  # checkpoints at multiples of this stay as well; 0: none
    tensorboard: bool = True  # write event files
    evaluate: bool = False  # score every checkpoint by config.eval, as it is made


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When the loop does what, in steps.

    Attributes:
      total: the run's length.
      log, sample, checkpoint: intervals.
      per_call: steps a dispatch at most.
      per_epoch: for the epoch in the logs.
    """

    total: int
    log: int
    sample: int
    checkpoint: int
    per_call: int
    per_epoch: float

    def next_stop(self, step: int) -> int:
        """The step at which the next call ends: at an event, or after per_call steps."""
        events = [(step // n + 1) * n for n in (self.log, self.sample, self.checkpoint)]
        return min(step + self.per_call, self.total, *events)

    def due(self, step: int, interval: int) -> bool:
        return step % interval == 0 or step == self.total


def make(train: Any, images_per_step: int, num_images: int) -> Schedule:
    """The schedule of config.train.

    Args:
      images_per_step: real images that a step sees.
      num_images: of the data set.

    Raises:
      ConfigError: a duration that is not one of at least a step.
    """
    if train.steps_per_call < 1:
        raise ConfigError(
            f"config.train.steps_per_call = {train.steps_per_call} is less than one step"
        )
    steps = {
        name: durations.to_steps(train, name, images_per_step, num_images)
        for name in durations.DURATIONS
    }
    per_epoch = durations.steps_per_epoch(train, images_per_step, num_images)
    return Schedule(**steps, per_call=train.steps_per_call, per_epoch=per_epoch)

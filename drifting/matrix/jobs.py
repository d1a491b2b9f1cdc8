"""A run as a job: its folder, the commands that are left of it, and its result."""

import dataclasses
import itertools
import logging
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

log = logging.getLogger(__name__)

TRAIN = (sys.executable, "train.py")
EVALUATE = (sys.executable, "evaluate.py")


@dataclasses.dataclass(frozen=True)
class Job:
    """A run to work off.

    Attributes:
      workdir: its folder, absolute.
      commands: one after the other, each only if the one before succeeded; those that were begun
        go on with what is there.
      read_result: what is in the folder; None where the run is not finished.
      headline: a result in a few words.
    """

    name: str
    workdir: pathlib.Path
    commands: Sequence[Sequence[str]]
    read_result: Callable[[pathlib.Path], dict[str, Any] | None]
    headline: Callable[[dict[str, Any]], str]

    def result(self) -> dict[str, Any] | None:
        return self.read_result(self.workdir)

    def next_action(self) -> str:
        """skip, resume, restart (what is there cannot be resumed) or start."""
        if self.result():
            return "skip"
        if any(self.workdir.glob("checkpoints/[0-9]*/manifest.json")):  # checkpoints.valid_steps
            return "resume"
        return "restart" if self.workdir.is_dir() and any(self.workdir.iterdir()) else "start"


def set_aside(workdir: pathlib.Path) -> None:
    """Renames the folder of a broken run, which training would not touch."""
    names = (workdir.with_name(f"{workdir.name}.broken-{k}") for k in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    workdir.rename(aside)
    log.warning("%s holds no finished checkpoint; moved to %s", workdir, aside)

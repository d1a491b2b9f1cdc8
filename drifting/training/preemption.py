"""Notices that a job is told to stop."""

import signal
from typing import Any


class Preemption:
    """A context in which SIGTERM sets `asked`; Orbax's own check needs several processes."""

    def __init__(self):
        self.asked = False

    def __enter__(self) -> "Preemption":
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def _note(self, number: int, frame: Any) -> None:
        del number, frame
        self.asked = True

    def __exit__(self, *_: Any) -> None:
        signal.signal(signal.SIGTERM, self._before)

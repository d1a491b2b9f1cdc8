"""A job that is told to stop."""

import signal
from typing import Any


class Preemption:
    """Notes a SIGTERM; Orbax's own check is always false in a single process."""

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

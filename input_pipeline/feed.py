"""The data that a training loop gets, step by step."""

import dataclasses
from collections.abc import Iterator

from input_pipeline.data import Data


@dataclasses.dataclass(frozen=True)
class Feed:
    """The data of successive steps.

    Attributes:
      data: a resident set, or batch number 0 of a stream; programs are compiled for it, and
        summaries always use it.
      batches: the batches of the steps to come; None: the data are the same at every step.
    """

    data: Data
    batches: Iterator[Data] | None = None

    @property
    def whole(self) -> bool:
        """Whether the data are the same at every step, so that one call may run many steps."""
        return self.batches is None

    def next(self) -> Data:
        """The data of the next step."""
        return self.data if self.batches is None else next(self.batches)

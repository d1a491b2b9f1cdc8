"""What a metric is: a name, columns of the table, what it needs, and how it is computed and read.

Free of JAX, as are all who only ask which columns there are.
"""

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drifting.evaluation.measured import Measured

Row = Mapping[str, Any]  # of the table: a value for each column that has one


class Need(enum.Flag):
    """What a metric reads of `Measured`; nothing else is sure to be there."""

    MOMENTS = enum.auto()  # mean and covariance of the features, of both sides
    VECTORS = enum.auto()  # the features themselves, of both sides
    LOGITS = enum.auto()  # of the samples, by a classifier
    IMAGES = enum.auto()  # stored pixels, of both sides and of one size
    HELDOUT = enum.auto()  # real images never trained on, where the source has them


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric, as a file of drifting/evaluation/metrics declares it by the name METRIC.

    Attributes:
      name: in config.eval.metrics and after --metrics.
      columns: those of the table that it fills, in the table's order.
      needs: what `measure` reads.
      measure: gives a value, or None, for each column.
      words: of a row that has a value in one of the columns, what a person reads of them.
      least_samples: fewer have no such score.
      of_images: asks what is in a picture, or whether it is a copy; points have no answer.
      measured_by: the column that has a value wherever this was measured; "" is the first one.
      place: among the metrics, in the table and in what is read; equal ones stand by name.
    """

    name: str
    _: dataclasses.KW_ONLY
    columns: tuple[str, ...]
    needs: Need
    measure: Callable[["Measured"], dict[str, Any]]
    words: Callable[[Row], str]
    least_samples: int = 2
    of_images: bool = False
    measured_by: str = ""
    place: int = 1000

    def is_in(self, row: Row) -> bool:
        """Whether a row of the table, of text or of values, has this metric."""
        return row.get(self.measured_by or self.columns[0]) not in (None, "")


def values(*columns: str) -> Callable[[Row], str]:
    """Words for columns that are read by their names: "precision 0.8, recall 0.6"."""

    def words(row: Row) -> str:
        return ", ".join(f"{c} {row[c]:.4g}" for c in columns if row.get(c) is not None)

    return words


def mean_and_deviation(mean: str, deviation: str) -> Callable[[Row], str]:
    """Words for the columns of a mean and its standard deviation: "kid 0.25 +- 0.031"."""
    return lambda row: f"{mean} {row[mean]:.4g} +- {row[deviation]:.2g}"

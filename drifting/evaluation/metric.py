"""What a metric declares: its name, its columns, what it needs, and how it is computed and printed.

Importing this module does not import JAX.
"""

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from drifting.core.errors import UserError

if TYPE_CHECKING:
    from drifting.evaluation.comparison import Comparison

Row = Mapping[str, Any]  # one measurement: values by column


class Need(enum.Flag):
    """What a metric reads of a `Comparison`; anything else may be absent."""

    MOMENTS = enum.auto()  # mean and covariance of the features, of both sets
    VECTORS = enum.auto()  # the features themselves, of both sets
    LOGITS = enum.auto()  # a classifier's logits of the samples
    IMAGES = enum.auto()  # stored pixels of both sets, of one image size
    ORIGINALS = enum.auto()  # of reconstructions or translations: the images they are made from
    HELDOUT = enum.auto()  # real images outside the reference, if the source has any


class Undefined(UserError):
    """A metric has no value for these features; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric: the value of METRIC in a file of drifting/evaluation/metrics.

    Attributes:
      name: the name in config.eval.metrics and --metrics.
      columns: the columns of the table that it fills, in order.
      needs: what `measure` reads.
      measure: returns a value, or None, for each column; raises Undefined.
      words: returns the text that is printed for a row with a value in one of the columns.
      least_samples: the least number of samples that it is defined for.
      least_reference: the least number of reference images that it is defined for.
      of_images: whether it is defined for images only, not for points or latents.
      measured_by: the column that has a value in every row with this metric; "" for the first.
      ranks_by: the column whose lowest value marks the best checkpoint; "" for none.
      drawn: the column that is drawn over training steps, in <name>_vs_step.png; "" for none.
      place: the position among the metrics; metrics with equal places are sorted by name.
    """

    name: str
    _: dataclasses.KW_ONLY
    columns: tuple[str, ...]
    needs: Need
    measure: Callable[["Comparison"], dict[str, Any]]
    words: Callable[[Row], str]
    least_samples: int = 2
    least_reference: int = 2
    of_images: bool = False
    measured_by: str = ""
    ranks_by: str = ""
    drawn: str = ""
    place: int = 1000

    def __post_init__(self):
        unknown = {self.measured_by, self.ranks_by, self.drawn} - {"", *self.columns}
        if unknown:
            raise ValueError(
                f"metric {self.name!r} names {', '.join(sorted(unknown))}, which is not one of its "
                f"columns {', '.join(self.columns)}"
            )

    def is_in(self, row: Row) -> bool:
        """Whether a row has a value of this metric."""
        return row.get(self.measured_by or self.columns[0]) is not None


def values(*columns: str) -> Callable[[Row], str]:
    """`words` that print columns by their names: "precision 0.8, recall 0.6"."""

    def words(row: Row) -> str:
        return ", ".join(f"{c} {row[c]:.4g}" for c in columns if row.get(c) is not None)

    return words


def mean_and_deviation(mean: str, deviation: str) -> Callable[[Row], str]:
    """`words` that print a mean and its standard deviation, if known: "kid 0.25 +- 0.031"."""

    def words(row: Row) -> str:
        known = row.get(deviation) is not None
        return f"{mean} {row[mean]:.4g}" + (f" +- {row[deviation]:.2g}" if known else "")

    return words

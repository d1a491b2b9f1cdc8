"""Metrics of two sets of feature vectors or images, one per file.

A file holds the formula as functions of arrays and ends in METRIC, a `metric.Metric`. Every file of
the package is a metric: a new one needs no registration. Files are imported on first use, so
importing this package does not import JAX.
"""

import functools
import importlib
import logging
import pkgutil
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from drifting.evaluation.metric import Metric, Need, Undefined

if TYPE_CHECKING:
    from drifting.evaluation.comparison import Comparison

log = logging.getLogger(__name__)


def known() -> dict[str, Metric]:
    """Every metric by name, in the order of the table.

    Raises:
      TypeError: a file declares no METRIC.
      ValueError: two metrics have the same name or column.
    """
    return dict(_found(tuple(__path__)))


def chosen(names: Iterable[str]) -> list[Metric]:
    """The metrics with these names, in their order; raises KeyError for an unknown name."""
    every = known()
    return [every[name] for name in names]


def ranking(names: Iterable[str]) -> Metric:
    """The metric that says which checkpoint is best: one of these if one can, else any."""
    return next(metric for metric in (*chosen(names), *known().values()) if metric.ranks_by)


def needs(names: Iterable[str]) -> Need:
    """The union of the needs of these metrics."""
    return functools.reduce(lambda all_, one: all_ | one.needs, chosen(names), Need(0))


def measure(names: Iterable[str], comparison: "Comparison") -> dict[str, Any]:
    """The value, or None, of each column of these metrics; a warning says why one is undefined."""
    row = {}
    for metric in chosen(names):
        try:
            row |= metric.measure(comparison)
        except Undefined as error:
            log.warning("%s is left empty: %s", metric.name, error)
            row |= dict.fromkeys(metric.columns)
    return row


def _names(places: Iterable[str]) -> list[str]:
    return [module.name for module in pkgutil.iter_modules(places)]


@functools.cache
def _found(places: tuple[str, ...]) -> dict[str, Metric]:
    modules = [importlib.import_module(f"{__name__}.{name}") for name in _names(places)]
    for module in modules:
        if not isinstance(vars(module).get("METRIC"), Metric):
            raise TypeError(f"{module.__file__} declares no METRIC = Metric(...)")
    metrics = sorted((module.METRIC for module in modules), key=lambda m: (m.place, m.name))
    _require_distinct("name", [metric.name for metric in metrics])
    _require_distinct("column", [column for metric in metrics for column in metric.columns])
    return {metric.name: metric for metric in metrics}


def _require_distinct(what: str, found: list[str]) -> None:
    twice = sorted({one for one in found if found.count(one) > 1})
    if twice:
        raise ValueError(f"several metrics have the {what} {', '.join(twice)}")


def __getattr__(name: str) -> Any:
    """Imports a file of the package by its name: `drifting.metrics.kid.kernel_distance`."""
    if name not in _names(__path__):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_names(__path__)})

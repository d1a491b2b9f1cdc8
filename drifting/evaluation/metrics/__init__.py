"""Metrics of two sets of feature vectors or images: one file each, and nothing else here.

A file holds the formula as functions of arrays and ends in METRIC, a `metric.Metric`. Files are
found by looking into the package, so a new one is known by being there. They are imported when
somebody first asks; importing this package does not import JAX.
"""

import functools
import importlib
import pkgutil
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from drifting.evaluation.metric import Metric, Need

if TYPE_CHECKING:
    from drifting.evaluation.measured import Measured


def known() -> dict[str, Metric]:
    """Every metric by name, in the order of the table.

    Raises:
      TypeError: a file without METRIC.
      ValueError: two metrics of one name or with one column.
    """
    return dict(_found(tuple(__path__)))


def chosen(names: Iterable[str]) -> list[Metric]:
    """The metrics of these names, in their order; raises KeyError for one that is not known."""
    there = known()
    return [there[name] for name in names]


def needs(names: Iterable[str]) -> Need:
    """What one of these metrics or several need."""
    return functools.reduce(lambda all_, one: all_ | one.needs, chosen(names), Need(0))


def measure(names: Iterable[str], measured: "Measured") -> dict[str, Any]:
    """A value, or None, for each column of these metrics."""
    row = {}
    for metric in chosen(names):
        row |= metric.measure(measured)
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
    """A file of the package as its attribute: `drifting.metrics.kid.kernel_distance`."""
    if name not in _names(__path__):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_names(__path__)})

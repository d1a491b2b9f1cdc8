"""A Python file that says what is to run: a function that returns one dict."""

import os
import pathlib
import runpy
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from drifting.core.errors import ConfigError, did_you_mean

ROOT = pathlib.Path(__file__).resolve().parents[2]

T = TypeVar("T")


class PlanError(ConfigError):
    """Runs that cannot be worked off; the message says what to change."""


def read(path: str | os.PathLike, function: str, parse: Callable[[dict], T]) -> T:
    """What `parse` makes of the dict that the file's `function()` returns.

    Args:
      parse: raises PlanError for a dict that will not do; the file's name is added to it.

    Raises:
      PlanError: one line that names the file and the fault.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise PlanError(f"{path}: there is no such file")
    if str(ROOT) not in sys.path:  # for `from configs import base`
        sys.path.insert(0, str(ROOT))
    try:
        get = runpy.run_path(str(path)).get(function)
        found = get and get()
    except Exception as error:  # whatever the file does wrong
        raise PlanError(f"{path}: {type(error).__name__}: {error}") from error
    if not get:
        raise PlanError(f"{path}: it defines no {function}()")
    if not isinstance(found, dict):
        raise PlanError(f"{path}: {function}() returns a {type(found).__name__}, not a dict")
    try:
        return parse(found)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error


def find_unknown(given: Iterable[Any], known: Iterable[str], where: str = "") -> str | None:
    """What is wrong with the first of the keys that is not known, or None.

    Args:
      where: they are, for the message.
    """
    known = tuple(known)
    for key in given:
        if key not in known:
            hint = did_you_mean(key, known) or f"; keys are {', '.join(known)}"
            return f"unknown key {key!r}{where and f' {where}'}{hint}"
    return None

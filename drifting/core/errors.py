"""Errors that the user can fix; entry points print their messages instead of a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix; the message says how, in one line."""


class ConfigError(UserError):
    """An invalid config; the message names the keys."""


def did_you_mean(name: object, known: Iterable[str], form: str = "{}") -> str:
    """The end of a message about an unknown name: "; did you mean 'x'?", or "" if none is near.

    Args:
      known: the valid names.
      form: how the suggestion is written, with {} for the nearest name.
    """
    near = difflib.get_close_matches(str(name), list(known), 1)
    return f"; did you mean {form.format(near[0])!r}?" if near else ""


def one_of(key: str, value: str, known: Iterable[str]) -> str:
    """Returns `value`, the value of config.<key>, if it is one of `known`.

    Raises:
      ConfigError: it is not; the message names the key, the known values and the nearest one.
    """
    known = sorted(known)
    if value not in known:
        raise ConfigError(
            f"config.{key} = {value!r} is not one of {known}{did_you_mean(value, known)}"
        )
    return value

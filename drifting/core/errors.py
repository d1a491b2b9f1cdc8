"""What a user can mend: one base class; entry points print its message instead of a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something that the user can mend; the message says how, in one line."""


class ConfigError(UserError):
    """A config that cannot be used; the message names the keys."""


def did_you_mean(name: object, known: Iterable[str], form: str = "{}") -> str:
    """The end of a message about an unknown name: "; did you mean 'x'?", or nothing.

    Args:
      known: the names that there are.
      form: of the suggestion, with {} for the nearest name.
    """
    near = difflib.get_close_matches(str(name), list(known), 1)
    return f"; did you mean {form.format(near[0])!r}?" if near else ""


def one_of(key: str, value: str, known: Iterable[str]) -> str:
    """`value` of config.<key>, which must be one of `known`.

    Raises:
      ConfigError: it is not; the key, all known values and the nearest are named.
    """
    known = sorted(known)
    if value not in known:
        raise ConfigError(
            f"config.{key} = {value!r} is not one of {known}{did_you_mean(value, known)}"
        )
    return value

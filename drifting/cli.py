"""Runs an entry point, so that a user's mistake ends in one clear line and exit code 2."""

import logging
import pathlib
import sys
from collections.abc import Callable
from typing import NoReturn

import absl.logging
from absl import app, flags

from drifting.core.errors import UserError, did_you_mean


def run(main: Callable) -> None:
    """Parses the flags and calls `main`; a user's mistake is printed without a traceback.

    An unknown `--config` key arrives as an AttributeError that names the nearest key.
    """
    app.run(lambda argv: _guarded(main, argv), flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    _log_to_stderr()
    try:
        return flags.FLAGS(argv)
    except (UserError, flags.Error, AttributeError, KeyError, TypeError, OSError) as error:
        _fail(f"{_message(error)} (flags: {' '.join(argv[1:])})")


def _message(error: BaseException) -> str:
    """The text of the innermost error: ml_collections wraps a KeyError in others."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    text = str(error.args[0] if error.args else error)  # str() of a KeyError is quoted
    if "get_config() takes 0 positional arguments" in text:
        return "this config file has no variants; leave out the colon and what follows it"
    return f"unknown key {text}" if isinstance(error, KeyError) else text


def _log_to_stderr() -> None:
    """Logs the project's own messages as plain lines, and of libraries only errors."""
    absl.logging.set_verbosity(absl.logging.ERROR)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("drifting")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def numbers(name: str, values: list[str] | None, kind: Callable) -> list | None:
    """The values of the list flag `name` as ints or floats; None where it was not given.

    Raises:
      flags.IllegalFlagValueError: one of them is not such a number.
    """
    try:
        return values and [kind(v) for v in values]
    except ValueError:
        raise flags.IllegalFlagValueError(
            f"--{name} {','.join(values)}: expected numbers ({kind.__name__}) and commas"
        ) from None


def require_file(path: str) -> None:
    """Checks that a config file exists; the config flag would check it only when first read.

    Raises:
      flags.IllegalFlagValueError: it does not; the nearest name in its folder is suggested.
    """
    file = pathlib.Path(path.partition(":")[0])
    if file.is_file():
        return
    others = sorted(str(p) for p in file.parent.glob("*.py"))
    hint = did_you_mean(file, others)
    raise flags.IllegalFlagValueError(f"--config {file}: no such file{hint}")


def _guarded(main: Callable, argv: list[str]) -> None:
    try:
        main(argv)
    except (UserError, flags.Error) as error:
        logging.getLogger("drifting").debug("traceback", exc_info=True)
        _fail(str(error))


def _fail(text: str) -> NoReturn:
    print("error: " + " ".join(text.split()), file=sys.stderr)
    sys.exit(2)

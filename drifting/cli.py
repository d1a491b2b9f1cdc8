"""Runs an entry point, so that a user's mistake ends in one clear line and exit code 2."""

import logging
import os
import pathlib
import re
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

import absl.logging
from absl import app, flags

from drifting.core import interrupts
from drifting.core.errors import UserError, did_you_mean

_WORDS = ("true", "false", "t", "f", "yes", "no", "y", "n", "on", "off", "0", "1", "none")


def run(main: Callable, takes_words: bool = False) -> None:
    """Parses the flags and calls `main`; a user's mistake is printed without a traceback.

    An unknown `--config` key arrives as an AttributeError that names the nearest key. Requests to
    stop end the process with one line, see core/interrupts.

    Args:
      takes_words: whether arguments may be words that belong to no flag.
    """
    interrupts.listen()
    app.run(lambda argv: _guarded(main, argv), flags_parser=lambda argv: _parse(argv, takes_words))


def _parse(argv: list[str], takes_words: bool) -> list[str]:
    _log_to_stderr()
    argv = [_expand_home(argument) for argument in argv]
    try:
        left = flags.FLAGS(argv)
        _check_left_over(argv, left[1:], takes_words)
        return left
    except (UserError, flags.Error, AttributeError, KeyError, TypeError, OSError) as error:
        _fail(f"{_message(error)} (flags: {' '.join(argv[1:])})")


def _expand_home(argument: str) -> str:
    """`--out=~/x` with the home folder for ~, which shells expand only at the start of a word."""
    flag, path = re.fullmatch(r"(--?[\w.]+=)?(.*)", argument, re.DOTALL).groups(default="")
    return flag + os.path.expanduser(path)


def _check_left_over(argv: list[str], left: list[str], takes_words: bool) -> None:
    """Refuses arguments that no flag has taken, such as False in `--noema False`."""
    for word in left:
        before = argv[argv.index(word) - 1]
        if _is_switch(before) and (not takes_words or word.lower() in _WORDS):
            raise flags.ValidationError(
                f"{before} takes a value only after an equals sign: write {before}={word.lower()}"
            )
        if not takes_words:
            hint = f"; did you mean --{word}?" if "=" in word else ""
            raise flags.ValidationError(f"unexpected argument {word!r}: all are flags{hint}")


def _is_switch(argument: str) -> bool:
    """Whether it is a boolean flag without a value."""
    name = argument.lstrip("-")
    known = [flags.FLAGS[n].boolean for n in (name, name.removeprefix("no")) if n in flags.FLAGS]
    return argument.startswith("-") and any(known)


def _message(error: BaseException) -> str:
    """The text of the innermost error: ml_collections wraps a KeyError in others."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    text = str(error.args[0] if error.args else error)  # str() of a KeyError is quoted
    if "get_config() takes 0 positional arguments" in text:
        return "this config file has no variants; leave out the colon and what follows it"
    return f"unknown key {text}" if isinstance(error, KeyError) else text


def _log_to_stderr() -> None:
    """Logs the project's own messages and warnings as plain lines, and of libraries only errors.

    Python's own notes on failing finalizers are left out: they follow an error that is reported.
    """
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    sys.unraisablehook = lambda _: None
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
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
    except OSError as error:
        if error.errno is None:  # not the system's: a library's own
            raise
        logging.getLogger("drifting").debug("traceback", exc_info=True)
        _fail(_of_system(error))
    except SystemExit as stop:
        if interrupts.noted():
            interrupts.exit_now(stop.code)
        raise


def _of_system(error: OSError) -> str:
    """What the system could not do, such as `No space left on device: runs/a/metrics.jsonl`."""
    names = ": ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    return f"{error.strerror}: {names}" if names else str(error)


def _fail(text: str) -> NoReturn:
    print("error: " + " ".join(text.split()), file=sys.stderr)
    sys.exit(2)

"""Runs an entry point so that a user's mistake ends in one clear line and exit code 2."""

import logging
import sys
from collections.abc import Callable

import absl.logging
from absl import app, flags


def run(main: Callable) -> None:
    """Parses flags and calls main; errors of use are printed without a traceback.

    `--config` keys that do not exist arrive as an AttributeError that names the nearest one.
    """
    app.run(lambda argv: _guarded(main, argv), flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    _log_to_stderr()
    try:
        return flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, OSError) as error:
        text = str(error.args[0] if error.args else error).replace("\\'", "'").strip("'\"")
        _fail(f"{text} (flags: {' '.join(argv[1:])})")
        raise AssertionError from error


def _log_to_stderr() -> None:
    """The project's own messages as plain lines; libraries only where they warn."""
    absl.logging.set_verbosity(absl.logging.ERROR)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("drifting")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _guarded(main: Callable, argv: list[str]) -> None:
    from drifting.experiment import USER_ERRORS  # imports JAX, which flags come before

    try:
        main(argv)
    except USER_ERRORS as error:
        logging.getLogger("drifting").debug("traceback", exc_info=True)
        _fail(str(error))


def _fail(text: str) -> None:
    print("error: " + " ".join(text.split()), file=sys.stderr)
    sys.exit(2)

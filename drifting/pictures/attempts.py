"""Pictures that may fail: no number or checkpoint is lost for one that cannot be drawn."""

import contextlib
import logging
import os
from collections.abc import Iterator

log = logging.getLogger(__name__)


@contextlib.contextmanager
def attempt(path: str | os.PathLike) -> Iterator[None]:
    """Draws a picture whose failure, for whatever reason, is a warning that names `path`."""
    try:
        yield
    except Exception as error:
        log.warning("%s was not drawn: %s: %s", path, type(error).__name__, error)

"""Files of JSON objects, one on each line, which survive a process that was killed."""

import json
import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from drifting.core.files import naming, to_json, write_atomically

log = logging.getLogger(__name__)

Row = dict[str, Any]


def read(
    path: str | os.PathLike, is_row: Callable[[Row], bool] = lambda row: True
) -> tuple[list[Row], list[bytes]]:
    """The rows, and the lines that are not rows.

    An incomplete last line, as a killed process may leave it, is neither.

    Args:
      is_row: whether an object is a row.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return [], []
    *lines, last = path.read_bytes().split(b"\n")
    parsed = [_parse(line, is_row) for line in (*lines, last)]
    others = [line for line, row in zip(lines, parsed, strict=False) if row is None and line]
    return [row for row in parsed if row is not None], others


def _parse(line: bytes, is_row: Callable[[Row], bool]) -> Row | None:
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and is_row(row) else None


def write(path: pathlib.Path, rows: Iterable[Row], others: Sequence[bytes] = ()) -> None:
    """Writes all rows, atomically, and moves lines that are not rows to <name>.damaged."""
    if others:  # somebody may need them
        aside = path.with_name(f"{path.name}.damaged")
        with naming(aside), open(aside, "ab") as file:
            file.write(b"\n".join(others) + b"\n")
        log.warning("%s: %d lines are damaged; moved to %s", path, len(others), aside.name)
    write_atomically(path, b"".join(to_json(row) + b"\n" for row in rows))

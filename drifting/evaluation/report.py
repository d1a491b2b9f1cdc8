"""The record of scores: rows of fid_metrics.csv, shared by concurrent evaluators, and JSON."""

import contextlib
import csv
import io
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from drifting.core import files
from drifting.core.errors import UserError
from drifting.core.files import write_atomically
from drifting.evaluation import metrics

_BEFORE_METRICS = (
    "timestamp", "checkpoint", "data_set", "split", "features", "fid_mode", "epoch", "step",
)  # fmt: skip
_AFTER_METRICS = (
    "num_samples", "batch_size", "cfg_scale", "sampler", "nfe", "seed", "weights",
    "loss", "drift_norm", "grad_norm", "feature_dist_mean", "feature_dist_var", "eval_seconds",
)  # fmt: skip

# Two rows with equal values here are the same measurement.
KEY = (
    "step", "data_set", "split", "features", "fid_mode", "num_samples", "cfg_scale", "sampler",
    "seed", "weights",
)  # fmt: skip


class TableError(UserError):
    """A table that this version cannot add to; the message says what to do."""


def columns() -> tuple[str, ...]:
    """Of the table: where and when, what the metrics measured, and how; also called COLUMNS."""
    measured = [column for metric in metrics.known().values() for column in metric.columns]
    found = (*_BEFORE_METRICS, *measured, *_AFTER_METRICS)
    if len(set(found)) < len(found):
        taken = sorted(set(measured) & {*_BEFORE_METRICS, *_AFTER_METRICS})
        raise ValueError(f"a metric cannot have the column {', '.join(taken)}: it has a meaning")
    return found


def __getattr__(name: str) -> tuple[str, ...]:
    if name == "COLUMNS":  # not a constant: asking imports the metrics, and JAX with them
        return columns()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def append_row(path: str | os.PathLike, row: Mapping[str, Any]) -> None:
    """Appends one row in the order of `columns`, cells without a value empty; durable on return.

    Several processes may append to one file: each holds a lock on it for the whole append. A line
    without its end, left by a process that was killed, is dropped first. The table of an older
    version, with fewer columns, gets the new ones, empty in its rows. Raises ValueError for a key
    that is no column and a cell of several lines, TableError for a file with other columns.
    """
    line = _row_line(row)
    with _locked(path) as descriptor:
        if _repaired_size(descriptor) == 0:
            line = _line(columns()) + line
        written = os.write(descriptor, line)
        if written != len(line):
            raise OSError(f"only {written} of {len(line)} bytes were written to {path}: disk full?")
        os.fsync(descriptor)


@contextlib.contextmanager
def _locked(path: str | os.PathLike) -> Iterator[int]:
    """The open table with this version's columns, or an empty one, locked until it is closed."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            files.lock(descriptor)  # released as the file is closed
            # Whoever waited while another process upgraded the table holds the old file, and
            # whoever upgraded it as well: both open the new one.
            if _is_at(descriptor, path) and not _upgraded(path):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, path: str | os.PathLike) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _upgraded(path: str | os.PathLike) -> bool:
    """Replaces a locked table that lacks columns by one that has them; false where none lacks.

    Raises TableError for columns that this version does not know.
    """
    found, wanted = _columns(path), columns()
    if found in ((), wanted):
        return False
    if not set(found) <= set(wanted) or len(set(found)) < len(found):
        raise TableError(f"{path} has other columns than this version writes: move it away")
    lines = [_line(wanted), *map(_row_line, read_rows(path))]
    write_atomically(path, b"".join(lines))
    return True


def _columns(path: str | os.PathLike) -> tuple[str, ...]:
    """Of a table's first line; none where that is torn."""
    with open(path, newline="", encoding="utf-8") as file:
        first = file.readline()
    return tuple(next(csv.reader([first]), ())) if first.endswith("\n") else ()


def read_rows(path: str | os.PathLike) -> list[dict[str, str]]:
    """All whole rows as text, by column; none where the file is absent.

    A torn line is skipped. Columns that an older table lacks are empty.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0].decode()
    header, *rows = list(csv.reader(io.StringIO(whole))) or [[]]
    empty = dict.fromkeys(columns(), "")
    return [empty | dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)]


def is_scored(rows: Iterable[Mapping[str, Any]], row: Mapping[str, Any]) -> bool:
    """Whether one of `rows` is the measurement that `row` describes, by the columns in KEY.

    Numbers are compared as numbers, so 1.5 equals "1.50" and 1 equals "1.0"; a cell that an older
    table lacks is empty. Raises ValueError where `row` lacks a column of KEY.
    """
    missing = [column for column in KEY if column not in row]
    if missing:
        raise ValueError(f"cannot tell which measurement this is without {', '.join(missing)}")
    wanted = _key(row)
    return any(_key(other) == wanted for other in rows)


def write_json(path: str | os.PathLike, content: Mapping[str, Any]) -> None:
    """Writes `content` as indented JSON, whole or not at all; arrays become lists."""
    text = json.dumps(dict(content), indent=2, default=_plain) + "\n"
    write_atomically(path, text.encode())


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy and JAX arrays and scalars
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} {value!r} has no JSON form")


def _row_line(row: Mapping[str, Any]) -> bytes:
    order = columns()
    unknown = sorted(set(row) - set(order))
    if unknown:
        raise ValueError(f"no such column: {', '.join(unknown)}; columns are {', '.join(order)}")
    cells = [_cell(row.get(column)) for column in order]
    for column, cell in zip(order, cells, strict=True):
        if "\n" in cell or "\r" in cell:
            raise ValueError(f"{column} must be one line, got {cell!r}")
    return _line(cells)


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _repaired_size(descriptor: int) -> int:
    """Size of the open, locked file after a torn last line is cut."""
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.ftruncate(descriptor, whole)
    return whole


def _key(row: Mapping[str, Any]) -> tuple[str | float, ...]:
    return tuple(_number_or_text(_cell(row.get(column))) for column in KEY)


def _number_or_text(cell: str) -> str | float:
    try:
        return float(cell)
    except ValueError:
        return cell

"""The scores of a run: eval/scores.jsonl, and the table and pictures that are drawn from it.

The record has one JSON object per measurement. Lines are only ever appended; fid_metrics.csv and
<metric>_vs_step.png are drawn again after each of them and may be deleted.
"""

import contextlib
import csv
import functools
import io
import itertools
import json
import logging
import os
import pathlib
import statistics
from collections.abc import Iterable, Iterator
from typing import Any

from drifting import pictures
from drifting.core import files
from drifting.evaluation import metrics
from drifting.evaluation.metric import Row

log = logging.getLogger(__name__)

# In a workdir.
RECORD, TABLE, LOCK = map(
    pathlib.Path, ("eval/scores.jsonl", "eval/fid_metrics.csv", "eval/.scores.lock")
)
VERSION = 1  # of a line of the record

_BEFORE_METRICS = (
    "timestamp", "checkpoint", "data_set", "split", "features", "fid_mode", "epoch", "step",
)  # fmt: skip
_AFTER_METRICS = (
    "num_samples", "batch_size", "cfg_scale", "sampler", "nfe", "seed", "weights",
    "loss", "drift_norm", "grad_norm", "feature_dist_mean", "feature_dist_var",
    "avg_loss", "avg_drift_norm", "num_batches", "eval_seconds",
)  # fmt: skip
_TEXT = (*_BEFORE_METRICS[:6], "sampler", "weights")  # all others are numbers

# Two rows with equal values here are the same measurement.
KEY = (
    "step", "data_set", "split", "features", "fid_mode", "num_samples", "cfg_scale", "sampler",
    "seed", "weights",
)  # fmt: skip
# Two rows with equal values here are measured alike: scores of checkpoints that can be ranked.
SETTING = tuple(column for column in KEY if column not in ("step", "seed"))


def columns() -> tuple[str, ...]:
    """The columns of the table: where and when, the values of the metrics, and the settings."""
    values = [column for metric in metrics.known().values() for column in metric.columns]
    taken = sorted(set(values) & {*_BEFORE_METRICS, *_AFTER_METRICS})
    if taken:
        raise ValueError(f"a metric cannot have the column {', '.join(taken)}: it is in use")
    return (*_BEFORE_METRICS, *values, *_AFTER_METRICS)


def append(workdir: pathlib.Path, row: Row) -> None:
    """Appends one measurement to the record and draws the table and pictures again.

    The line is on the disk on return. Several processes may append to one record: each holds its
    lock until its drawings are written, so that a newer table is never replaced by an older one.

    Raises:
      ValueError: a key is not a column.
    """
    unknown = sorted(set(row) - set(columns()))
    if unknown:
        raise ValueError(f"unknown columns {', '.join(unknown)}; known: {', '.join(columns())}")
    with _locked(workdir):
        _append_line(workdir / RECORD, _line(row))
        _draw(workdir)


def draw(workdir: pathlib.Path) -> None:
    """Draws the table and pictures again, as needed after a process was killed before it did."""
    with _locked(workdir):
        _draw(workdir)


def read(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The measurements of a run by column, None where a column has no value.

    An incomplete last line is ignored; another line that cannot be understood is skipped with a
    warning. A workdir of an older version, without a record, has the rows of its table.
    """
    path = workdir / RECORD
    if not path.exists():
        return _read_old_table(workdir / TABLE)[0]
    *lines, last = path.read_bytes().split(b"\n")
    if _is_object(last):
        lines.append(last)
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(dict.fromkeys(columns()) | _parse(line))
        except ValueError as error:
            _warn_once(path, number, str(error))
    return rows


def is_scored(rows: Iterable[Row], row: Row) -> bool:
    """Whether one of `rows` is the measurement that `row` describes, by the columns in KEY.

    Raises:
      ValueError: `row` lacks a column of KEY.
    """
    missing = [column for column in KEY if column not in row]
    if missing:
        raise ValueError(f"a measurement cannot be identified without {', '.join(missing)}")
    return any(_values(other, KEY) == _values(row, KEY) for other in rows)


def mean_by_step(rows: Iterable[Row], setting: Row, column: str) -> dict[int, float]:
    """The mean of a column over the seeds of each step, in the rows of one setting.

    Args:
      setting: its values in the columns SETTING; rows that differ in one of them are left out.
    """
    by_step: dict[int, dict[Any, float]] = {}
    for row in rows:
        if row[column] is not None and _values(row, SETTING) == _values(setting, SETTING):
            by_step.setdefault(row["step"], {})[row["seed"]] = row[column]  # the last one counts
    return {step: statistics.mean(seeds.values()) for step, seeds in by_step.items()}


def _values(row: Row, names: Iterable[str]) -> tuple[Any, ...]:
    return tuple("" if row.get(column) is None else row[column] for column in names)


# --- lines of the record ------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the lock of the record, into which the table of an older version is imported."""
    (workdir / RECORD).parent.mkdir(parents=True, exist_ok=True)
    with files.locked(workdir / LOCK):
        if not (workdir / RECORD).exists():
            _import_old_table(workdir)
        yield


def _append_line(path: pathlib.Path, line: bytes) -> None:
    """Appends a line, after removing the incomplete one that a killed process may have left."""
    with open(path, "a+b") as file:
        file.seek(0)
        content = file.read()
        last = content.rpartition(b"\n")[2]
        if _is_object(last):  # complete, except for its end of line
            line = b"\n" + line
        else:
            file.truncate(len(content) - len(last))
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _line(row: Row) -> bytes:
    values = {column: value for column, value in row.items() if value is not None}
    return files.to_json({"version": VERSION, **values}) + b"\n"


def _parse(line: bytes) -> dict[str, Any]:
    """The values of a line; ValueError for one that this version does not understand."""
    try:
        values = json.loads(line.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    version = values.pop("version", None)
    if version != VERSION:
        raise ValueError(f"version {version}, this program reads version {VERSION}")
    for column, value in values.items():
        kind = str if column in _TEXT else (int, float, type(None))
        if column in columns() and not isinstance(value, kind):
            raise ValueError(f"{column} = {value!r} is not a {'text' if kind is str else 'number'}")
    return values


def _is_object(line: bytes) -> bool:
    """Whether a line without its end is complete: no beginning of a JSON object is one."""
    try:
        return isinstance(json.loads(line.decode()), dict)
    except (ValueError, RecursionError):
        return False


@functools.cache
def _warn_once(path: pathlib.Path, number: int, why: str) -> None:
    log.warning("%s, line %d was skipped: %s", path, number, why)


# --- what is drawn from it ----------------------------------------------------------------------


def _draw(workdir: pathlib.Path) -> None:
    rows = read(workdir)
    text = io.StringIO()
    table = csv.DictWriter(text, columns(), extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    files.write_atomically(workdir / TABLE, text.getvalue().encode())
    for metric in metrics.known().values():
        column = metric.drawn
        if column and any(None not in (row["step"], row[column]) for row in rows):
            path = workdir / TABLE.with_name(f"{metric.name}_vs_step.png")
            with pictures.attempt(path):
                pictures.plot_metric_vs_step(rows, path, column)


# --- tables of older versions, which had no record ----------------------------------------------


def _import_old_table(workdir: pathlib.Path) -> None:
    """Begins the record with the rows of a table; one not fully understood is moved away."""
    table = workdir / TABLE
    rows, understood = _read_old_table(table)
    if rows:
        files.write_atomically(workdir / RECORD, b"".join(map(_line, rows)))
    if not understood:
        names = (table.with_name(f"fid_metrics.old{n}.csv") for n in itertools.count(1))
        kept = next(name for name in names if not name.exists())
        table.rename(kept)
        log.warning(
            "%s has rows or columns that this version cannot read; it was moved to %s", table, kept
        )


def _read_old_table(path: pathlib.Path) -> tuple[list[dict[str, Any]], bool]:
    """The rows of a table, and whether that is all of it, apart from an incomplete last line.

    It may lack some of today's columns, and a column whose name was lost is left out. A table with
    other columns gives no rows.
    """
    try:
        text = path.read_bytes().rpartition(b"\n")[0].decode()
    except FileNotFoundError:
        return [], True
    except UnicodeDecodeError:
        return [], False
    table = csv.DictReader(io.StringIO(text))
    header = table.fieldnames or ()
    named = [column for column in header if column.strip()]
    if not set(named) <= set(columns()) or len(set(named)) < len(named):
        return [], False
    lines = list(table)
    complete = [line for line in lines if None not in (*line, *line.values())]
    rows = [{column: _value(column, line[column]) for column in named} for line in complete]
    understood = len(complete) == len(lines) and len(named) == len(header)
    return [dict.fromkeys(columns()) | row for row in rows], understood


def _value(column: str, cell: str) -> str | int | float | None:
    if column in _TEXT:
        return cell
    try:
        return int(cell) if cell.isdecimal() else float(cell)
    except ValueError:
        return cell or None

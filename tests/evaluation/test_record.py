"""Scores are never lost from the record; the table and pictures are drawn from it."""

import csv
import json
import logging
import pathlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np
import pytest

from drifting.core import files
from drifting.evaluation import record
from drifting.evaluation.record import KEY, append, columns, is_scored, read

ROW = {
    "step": 100, "data_set": "digits", "split": "test", "features": "pixels", "fid_mode": "",
    "num_samples": 500, "cfg_scale": 1.5, "sampler": "", "nfe": 1, "seed": 42, "weights": "ema",
    "frechet_distance": np.float64(1.25), "loss": jnp.float32(0.5),
}  # fmt: skip

WRITER = """
import pathlib, sys
from drifting.evaluation.record import append
print("ready", flush=True)
sys.stdin.readline()
for step in range(50):
    append(pathlib.Path(sys.argv[1]), {"checkpoint": sys.argv[2] * 300, "step": step})
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / record.RECORD


@pytest.fixture
def table(tmp_path):
    return tmp_path / record.TABLE


@pytest.fixture
def old_table(table):
    """Two rows of a version that knew neither samplers nor energy distances, and a torn third."""
    new = ("energy_distance", "energy_distance_real", "sampler", "nfe")
    old = [column for column in columns() if column not in new]
    table.parent.mkdir()
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, old, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows([ROW | {"checkpoint": 'a, "b"'}, ROW | {"step": 200, "cfg_scale": "1.0"}])
        file.write("2026,half a ro")
    return table


def steps_of(workdir):
    return [row["step"] for row in read(workdir)]


def test_a_measurement_is_one_line_and_comes_back_by_column(tmp_path, path):
    append(tmp_path, ROW)
    append(tmp_path, {"checkpoint": 'a, "b"\nc', "step": 200})
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {"version": 1, **ROW, "frechet_distance": 1.25, "loss": 0.5}
    assert second == {"version": 1, "checkpoint": 'a, "b"\nc', "step": 200}
    first, second = read(tmp_path)
    assert first["frechet_distance"] == 1.25 and first["epoch"] is None
    assert tuple(first) == columns()
    assert second["checkpoint"] == 'a, "b"\nc'


def test_the_table_and_the_picture_are_drawn_from_it(tmp_path, table):
    append(tmp_path, {"step": 50, "kid": 0.25})
    picture = table.with_name("fid_vs_step.png")
    assert not picture.exists()
    append(tmp_path, ROW)
    with open(table, newline="") as file:
        header, first, second = csv.reader(file)
    assert tuple(header) == columns()
    assert first == ["50" if c == "step" else "0.25" if c == "kid" else "" for c in header]
    assert dict(zip(header, second, strict=True)) == {
        column: str(ROW.get(column, "")) for column in columns()
    }
    before, drawn = table.read_bytes(), picture.read_bytes()
    table.unlink()
    picture.unlink()
    record.draw(tmp_path)
    assert (table.read_bytes(), picture.read_bytes()) == (before, drawn)


@pytest.mark.parametrize("start", ["empty", pytest.param("old_table", marks=pytest.mark.slow)])
def test_two_processes_lose_no_row(tmp_path, table, start, request):
    if start == "old_table":
        request.getfixturevalue(start)
    root = pathlib.Path(__file__).resolve().parents[2]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), name],
            cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in "ab"
    ]  # fmt: skip
    for writer in writers:
        writer.stdout.readline()
    for writer in writers:  # both are ready: let them go at once
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=50)
        assert writer.returncode == 0
    rows = read(tmp_path)
    for name in "ab":
        assert [r["step"] for r in rows if r["checkpoint"] == name * 300] == list(range(50))
    assert len(rows) == (102 if start == "old_table" else 100)
    with open(table, newline="") as file:  # drawn by whoever came last, from all
        assert [int(row["step"]) for row in csv.DictReader(file)] == [row["step"] for row in rows]


def test_an_append_waits_for_the_lock(tmp_path, path):
    append(tmp_path, ROW)
    line = path.read_bytes()
    with (
        ThreadPoolExecutor() as pool,
        open(path, "ab", buffering=0) as other,
        files.locked(tmp_path / record.LOCK),
    ):
        other.write(line[:10])  # another evaluator half way through its line
        waiting = pool.submit(append, tmp_path, ROW | {"step": 200})
        time.sleep(0.3)
        done_early = waiting.done()
        other.write(line[10:])
    assert not done_early
    assert steps_of(tmp_path) == [100, 100, 200]


@pytest.mark.parametrize("cut", [2, 20, 50])
def test_an_incomplete_last_line_is_dropped(tmp_path, path, cut, caplog):
    append(tmp_path, ROW)
    append(tmp_path, ROW | {"step": 200})
    path.write_bytes(path.read_bytes()[:-cut])
    assert steps_of(tmp_path) == [100]
    append(tmp_path, ROW | {"step": 300})
    assert steps_of(tmp_path) == [100, 300] and not caplog.text
    assert path.read_text().count("\n") == 2 and path.read_text().endswith("\n")


@pytest.mark.parametrize("last", [b'{"version": 1, "step": 7}', b'{"version": 2, "step": 7}'])
def test_a_last_line_that_lacks_only_its_end_is_kept(tmp_path, path, last):
    append(tmp_path, ROW)
    path.write_bytes(path.read_bytes() + last)
    seen = [100, 7] if b"1" in last else [100]
    assert steps_of(tmp_path) == seen
    append(tmp_path, ROW | {"step": 300})
    assert steps_of(tmp_path) == [*seen, 300]
    assert path.read_bytes().splitlines()[1] == last


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"\xff\xfe", "codec can't decode"),
        (b'{"step": 5', "delimiter"),
        (b"[5]", "not a JSON object"),
        (b'{"step": 5}', "version None, this program reads version 1"),
        (b'{"step": 5, "version": 2}', "version 2, this program reads version 1"),
        (b'{"version": 1, "frechet_distance": "low"}', "frechet_distance = 'low' is not a number"),
        (b'{"version": 1, "data_set": 5}', "data_set = 5 is not a text"),
    ],
)
def test_a_line_that_is_not_understood_is_kept_and_named_once(tmp_path, path, line, why, caplog):
    append(tmp_path, ROW)
    path.write_bytes(path.read_bytes() + line + b"\n")
    with caplog.at_level(logging.WARNING, logger="drifting"):
        append(tmp_path, ROW | {"step": 300})
        assert steps_of(tmp_path) == [100, 300]
    (warning,) = [r.getMessage() for r in caplog.records]
    assert f"{path}, line 2 was skipped" in warning and why in warning
    assert path.read_bytes().splitlines()[1] == line


def test_an_absent_record_has_no_rows(tmp_path):
    assert read(tmp_path) == [] and not [*tmp_path.iterdir()]
    record.draw(tmp_path)
    assert read(tmp_path) == []


def test_unknown_columns_are_refused(tmp_path, path):
    with pytest.raises(ValueError, match="unknown columns fid; known: timestamp, "):
        append(tmp_path, {"fid": 3.0})
    assert not path.exists()


def test_the_rows_of_an_older_table_are_imported_once(tmp_path, path, old_table):
    first, second = before = read(tmp_path)
    assert not path.exists()  # reading writes nothing
    assert (first["checkpoint"], first["step"], first["cfg_scale"]) == ('a, "b"', 100, 1.5)
    assert second["cfg_scale"] == 1.0 and first["energy_distance"] is None
    assert is_scored(before, ROW) and not is_scored(before, ROW | {"sampler": "euler-50"})
    append(tmp_path, ROW | {"step": 300, "sampler": "euler-50", "nfe": 100})
    assert read(tmp_path)[:2] == before and steps_of(tmp_path) == [100, 200, 300]
    assert len(old_table.read_text().splitlines()) == 4
    append(tmp_path, ROW)
    assert steps_of(tmp_path) == [100, 200, 300, 100]


@pytest.mark.parametrize(
    ("content", "steps"),
    [
        (b"step,fid\n1,2\n", []),
        (b"step,step\n1,2\n", []),
        (b"step,kid\n1,\xff\n", []),
        (b"step,kid\n1,0.5\n2,0.5,7\n", [1]),
    ],
)
def test_a_table_of_another_shape_is_moved_away(tmp_path, table, content, steps, caplog):
    table.parent.mkdir()
    for n in (1, 2):
        table.write_bytes(content)
        assert steps_of(tmp_path) == steps
        with caplog.at_level(logging.WARNING, logger="drifting"):
            append(tmp_path, ROW)
        aside = table.with_name(f"fid_metrics.old{n}.csv")
        assert aside.read_bytes() == content and f"moved to {aside}" in caplog.text
        assert steps_of(tmp_path) == [*steps, 100]
        (tmp_path / record.RECORD).unlink()
        table.unlink()


@pytest.mark.parametrize("content", [b"", b"timestamp,check", b"step,kid\n"])
def test_a_table_without_rows_is_replaced(tmp_path, table, content):
    table.parent.mkdir()
    table.write_bytes(content)
    append(tmp_path, ROW)
    assert steps_of(tmp_path) == [100]
    assert not [*table.parent.glob("*.old*")]


def test_a_measurement_is_identified_by_its_key(tmp_path):
    append(tmp_path, ROW | {"step": 50})
    append(tmp_path, ROW)
    rows = read(tmp_path)
    assert is_scored(rows, ROW)
    assert is_scored(rows, ROW | {"seed": 42.0, "fid_mode": None, "loss": 9.0})
    for column in KEY:
        assert not is_scored(rows, ROW | {column: 7}), column
    assert not is_scored(rows, ROW | {"cfg_scale": None})
    assert not is_scored([], ROW)
    with pytest.raises(ValueError, match="without cfg_scale, seed"):
        is_scored(rows, {key: ROW[key] for key in KEY if key not in ("cfg_scale", "seed")})

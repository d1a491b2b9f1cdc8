import csv
import fcntl
import json
import pathlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np
import pytest

from drifting.evaluation.report import (
    COLUMNS,
    KEY,
    TableError,
    append_row,
    is_scored,
    read_rows,
    write_json,
)

ROW = {
    "step": 100, "data_set": "digits", "split": "test", "features": "pixels", "fid_mode": "",
    "num_samples": 500, "cfg_scale": 1.5, "sampler": "", "nfe": 1, "seed": 42, "weights": "ema",
    "frechet_distance": np.float64(1.25), "loss": jnp.float32(0.5),
}  # fmt: skip

WRITER = """
import sys
from drifting.evaluation.report import append_row
print("ready", flush=True)
sys.stdin.readline()
for step in range(200):
    append_row(sys.argv[1], {"checkpoint": sys.argv[2] * 300, "step": step})
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fid_metrics.csv"


@pytest.fixture
def old_table(path):
    """Two rows of a version that knew neither samplers nor energy distances, and a torn third."""
    new = ("energy_distance", "energy_distance_real", "sampler", "nfe")
    columns = [column for column in COLUMNS if column not in new]
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows([ROW | {"checkpoint": 'a, "b"'}, ROW | {"step": 200}])
        file.write("2026,half a ro")
    return path


def test_a_row_comes_back_by_column(path):
    append_row(path, ROW)
    append_row(path, {"checkpoint": 'a, "b"', "step": 200})
    lines = path.read_text().splitlines()
    assert len(lines) == 3 and lines[0] == ",".join(COLUMNS)
    first, second = read_rows(path)
    assert first["frechet_distance"] == "1.25" and first["loss"] == "0.5"
    assert first["epoch"] == "" and tuple(first) == COLUMNS
    assert second["checkpoint"] == 'a, "b"'


@pytest.mark.parametrize("table", ["path", "old_table"])
def test_two_processes_tear_no_row(table, request):
    path = request.getfixturevalue(table)
    root = pathlib.Path(__file__).resolve().parents[2]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name],
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
    assert path.read_text().count("timestamp") == 1
    rows = read_rows(path)
    for name in "ab":
        steps = [int(row["step"]) for row in rows if row["checkpoint"] == name * 300]
        assert steps == list(range(200))
    assert len(rows) == (402 if table == "old_table" else 400)


def test_an_append_waits_for_the_lock(path):
    append_row(path, ROW)
    before = path.read_bytes()
    with open(path, "ab", buffering=0) as other, ThreadPoolExecutor() as pool:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(before.splitlines()[1][:10])  # another evaluator half way through its row
        waiting = pool.submit(append_row, path, ROW | {"step": 200})
        time.sleep(0.3)
        done_early = waiting.done()
        other.write(before.splitlines(keepends=True)[1][10:])
        fcntl.flock(other, fcntl.LOCK_UN)
    assert not done_early
    assert [row["step"] for row in read_rows(path)] == ["100", "100", "200"]


@pytest.mark.parametrize("cut", [1, 20, 50])
def test_a_torn_last_line_is_dropped(path, cut):
    append_row(path, ROW)
    append_row(path, ROW | {"step": 200})
    path.write_bytes(path.read_bytes()[:-cut])
    assert [row["step"] for row in read_rows(path)] == ["100"]
    append_row(path, ROW | {"step": 300})
    assert [row["step"] for row in read_rows(path)] == ["100", "300"]
    assert path.read_text().count("\n") == 3 and path.read_text().endswith("\n")


def test_a_torn_header_is_written_again(path):
    path.write_text("timestamp,check")
    assert read_rows(path) == []
    append_row(path, ROW)
    assert [row["step"] for row in read_rows(path)] == ["100"]


def test_an_absent_file_has_no_rows(path):
    assert read_rows(path) == []


def test_what_would_spoil_the_file_is_refused(path):
    with pytest.raises(ValueError, match="no such column: fid; columns are timestamp, "):
        append_row(path, {"fid": 3.0})
    with pytest.raises(ValueError, match="checkpoint must be one line"):
        append_row(path, {"checkpoint": "a\nb"})
    assert not path.exists()
    for header in ("step,fid", "step,step"):
        path.write_text(f"{header}\n1,2\n")
        with pytest.raises(TableError, match="has other columns"):
            append_row(path, ROW)
        assert path.read_text() == f"{header}\n1,2\n"


def test_an_older_table_gets_the_new_columns(old_table):
    before = read_rows(old_table)
    assert set(before[0]) == set(COLUMNS) and before[0]["energy_distance"] == ""
    assert is_scored(before, ROW) and not is_scored(before, ROW | {"sampler": "euler-50"})
    append_row(old_table, ROW | {"step": 300, "sampler": "euler-50", "nfe": 100})
    first, second, third = read_rows(old_table)
    assert [first, second] == before
    assert old_table.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert first["checkpoint"] == 'a, "b"' and first["sampler"] == ""
    assert (third["sampler"], third["nfe"]) == ("euler-50", "100")
    assert is_scored(read_rows(old_table), ROW)
    assert [file.name for file in old_table.parent.iterdir()] == [old_table.name]
    content = old_table.read_bytes()
    append_row(old_table, ROW)
    assert old_table.read_bytes().startswith(content)  # upgraded once


def test_whoever_waited_for_an_older_table_writes_to_the_new_one(old_table):
    with open(old_table, "ab") as other, ThreadPoolExecutor() as pool:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = pool.submit(append_row, old_table, ROW | {"step": 300})
        time.sleep(0.3)
        new = old_table.with_name("new")
        append_row(new, ROW | {"step": 250})
        new.replace(old_table)
        fcntl.flock(other, fcntl.LOCK_UN)
        waiting.result(timeout=20)
    assert [row["step"] for row in read_rows(old_table)] == ["250", "300"]


def test_a_measurement_is_known_by_its_key(path):
    append_row(path, ROW | {"step": 50})
    append_row(path, ROW)
    rows = read_rows(path)
    assert is_scored(rows, ROW)
    assert is_scored(rows, ROW | {"cfg_scale": "1.50", "seed": 42.0, "loss": 9.0})
    for column in KEY:
        assert not is_scored(rows, ROW | {column: "7"}), column
    assert not is_scored(rows, ROW | {"cfg_scale": None})
    assert not is_scored([], ROW)
    with pytest.raises(ValueError, match="without cfg_scale, seed"):
        is_scored(rows, {key: ROW[key] for key in KEY if key not in ("cfg_scale", "seed")})


def test_json_is_whole_or_absent(tmp_path):
    path = tmp_path / "eval_metadata.json"
    content = {"fid": np.float64(2.5), "mean": jnp.arange(2), "where": pathlib.Path("a/b")}
    write_json(path, content)
    assert json.loads(path.read_text()) == {"fid": 2.5, "mean": [0, 1], "where": "a/b"}
    with pytest.raises(TypeError, match="has no JSON form"):
        write_json(path, {"what": object()})
    assert json.loads(path.read_text())["fid"] == 2.5
    assert [file.name for file in tmp_path.iterdir()] == ["eval_metadata.json"]

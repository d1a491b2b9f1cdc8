"""What a start writes down, on a machine with a GPU, and next to a line that was cut off."""

import json
import logging
import types

import jax
import pytest
import small_runs

from drifting.core import config as config_lib
from drifting.runs import records
from drifting.runs.build import build


@pytest.fixture(scope="module")
def parts():
    return build(config_lib.resolve(small_runs.meanflow()))


def lines(workdir):
    return [json.loads(line) for line in (workdir / "history.jsonl").read_bytes().splitlines()]


def test_a_line_that_was_cut_off_is_dropped_and_others_are_set_aside(parts, tmp_path, caplog):
    records.record(tmp_path, parts, note="one")
    history = tmp_path / "history.jsonl"
    history.write_bytes(history.read_bytes() + b'damaged\n{"time": "2026')
    with caplog.at_level(logging.WARNING, logger="drifting"):
        records.record(tmp_path, parts, note="two", resumed=4)
    assert [row["note"] for row in lines(tmp_path)] == ["one", "two"]
    assert (tmp_path / "history.jsonl.damaged").read_bytes() == b"damaged\n"
    assert "history.jsonl: 1 lines are damaged" in caplog.text


def test_the_config_of_checkpoints_is_that_of_the_workdir(parts, tmp_path):
    assert records.record(tmp_path, parts) == (tmp_path / "config.json").read_bytes()


def test_changes_are_those_since_the_last_start(parts, tmp_path):
    records.record(tmp_path, parts)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"log_steps": 1', '"log_steps": 7'))
    records.record(tmp_path, parts, resumed=4)
    records.record(tmp_path, parts, resumed=4)
    changed = [row["changed"] for row in lines(tmp_path)]
    assert changed == [{}, {"train.log_steps": {"old": 7, "new": 1}}, {}]


def test_versions_on_a_gpu_have_those_of_cuda(monkeypatch):
    platform = types.SimpleNamespace(platform_version="PJRT C API\ncuda 12090")
    monkeypatch.setattr(jax, "devices", lambda: [types.SimpleNamespace(platform="gpu")])
    monkeypatch.setattr(records.backend, "get_backend", lambda: platform)
    installed = {
        "nvidia-cudnn-cu12": "9.8.0", "nvidia-cuda-runtime": "13.0.1",
        "jax-cuda12-plugin": "0.10.2", "nvidia-cublas-cu12": "12.9.0",
    }  # fmt: skip
    found = [types.SimpleNamespace(name=n, version=v) for n, v in installed.items()]
    monkeypatch.setattr(records.importlib.metadata, "distributions", lambda: found)
    monkeypatch.setattr(records, "DRIVER", ("printf", "580.65.06\n580.65.06\n"))
    versions = records.versions()
    assert {name: versions[name] for name in versions if name not in records.PACKAGES} == {
        "platform": "PJRT C API cuda 12090",
        "nvidia-cudnn-cu12": "9.8.0",
        "nvidia-cuda-runtime": "13.0.1",
        "jax-cuda12-plugin": "0.10.2",
        "driver": "580.65.06",
    }


def test_versions_without_a_gpu_or_its_tools(monkeypatch):
    assert records.versions().keys() == set(records.PACKAGES)
    assert records._first_line_of(("no-such-program-here",)) is None
    assert records._first_line_of(("false",)) is None

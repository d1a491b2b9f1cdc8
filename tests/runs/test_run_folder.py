"""Who may train in a folder: one process at a time, and after a start that was interrupted."""

import logging
import signal
import subprocess
import sys

import pytest

from drifting.runs import folder
from drifting.runs.folder import WorkdirError, owned, require_no_run

OWN = """
import pathlib, sys, time
from drifting.runs.folder import owned
with owned(pathlib.Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_second_training_in_a_folder_is_refused_until_the_first_has_ended(tmp_path):
    workdir = tmp_path / "run"
    first = subprocess.Popen([sys.executable, "-c", OWN, workdir], stdout=subprocess.PIPE)
    first.stdout.readline()
    (workdir / "config.json").touch()
    message = f"process {first.pid} is training in {workdir}"
    with pytest.raises(WorkdirError, match=message), owned(workdir):
        pass
    first.send_signal(signal.SIGKILL)
    first.wait()
    with owned(workdir), pytest.raises(WorkdirError, match="is training in"), owned(workdir):
        pass


def test_a_refused_run_leaves_an_empty_folder(tmp_path):
    with pytest.raises(KeyError), owned(tmp_path / "run"):
        raise KeyError
    assert not any((tmp_path / "run").iterdir())


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, caplog):
    def fail(descriptor, wait):
        raise OSError(folder.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder.files, "lock", fail)
    with caplog.at_level(logging.WARNING, logger="drifting"), owned(tmp_path):
        pass
    assert "without locks" in caplog.text


STARTED = {
    ".lock": "1",
    "config.json": '{"config": {}}',
    ".config.json.123.tmp": "{",
    "split.json": "{}",
    "history.jsonl": '{"time": "2026-01-01T00:00:00+00:00", "step": 0}\n',
    "epochs.jsonl": "",
    "metrics.jsonl": '{"step": 0, "spread": 1.0}\n{"st',
    "events.out.tfevents.1700000000.host.1.0.v2": "x",
    "samples/step_0000000.png": "x",
    "figures/step_0000000_field.png": "x",
    "checkpoints/0.orbax-checkpoint-tmp-1/state/d": "x",
    "checkpoints/0/state/manifest.ocdbt": "x",
    "damaged_checkpoints/0_17/metrics/metrics": "x",
}


def fill(path, names):
    for name, text in names.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)


def test_what_a_start_leaves_may_be_started_again(tmp_path):
    fill(tmp_path, STARTED)
    require_no_run(tmp_path)
    (tmp_path / "checkpoints" / "empty").mkdir()
    require_no_run(tmp_path)


@pytest.mark.parametrize(
    "name,text",
    [
        ("notes.txt", "mine"),
        ("samples/mine.png", ""),
        ("samples/step_0000100.png", ""),
        ("summary/loss.float32", "1234"),
        ("checkpoints/100/state/d", ""),
        ("eval/scores.jsonl", ""),
        ("test.json", "{}"),
        ("config.json", "mine"),
        ("config.json", '{"other": 1}'),
        ("epochs.jsonl", '{"step": 50, "epoch": 1, "seconds": 1.0}\n'),
        ("metrics.jsonl", '{"step": 0}\n{"step": 50, "loss": 1.0}\n'),
    ],
)
def test_anything_else_is_never_started_over(tmp_path, name, text):
    fill(tmp_path, STARTED | {name: text})
    with pytest.raises(WorkdirError, match=f"no finished checkpoint \\({name}\\)"):
        require_no_run(tmp_path)
    assert (tmp_path / name).read_text() == text

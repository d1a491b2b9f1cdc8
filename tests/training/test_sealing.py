"""Whatever happens while a checkpoint is saved, the one before is still there."""

import errno
import os
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.training import checkpoints, state_files
from drifting.training.checkpoints import CheckpointError, Checkpoints
from drifting.training.integrity import MANIFEST, find_damage


def state_at(step):
    return {"w": jnp.full(600, float(step))}


SHAPES = jax.eval_shape(lambda: state_at(0))


def resume(folder, keep=1):
    """The step that a new job resumes at, after comparing its state; None for a fresh start."""
    store = Checkpoints(folder, keep)
    found = store.restore_newest(SHAPES)
    store.close()
    if found is None:
        return None
    state, step, _ = found
    np.testing.assert_array_equal(state["w"], np.full(600, float(step)))
    return step


@pytest.fixture
def saved(tmp_path):
    """A folder with the checkpoint of step 1."""
    store = Checkpoints(tmp_path / "checkpoints", keep=1)
    store.save(state_at(1), 1, {"loss": 0.5})
    store.close()
    return tmp_path / "checkpoints"


KILLED = """
import os, pathlib, shutil, signal, sys
import jax.numpy as jnp
from drifting.training import checkpoints

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

owner, name = {"manifest": (checkpoints, "write_manifest"), "name": (pathlib.Path, "rename"),
               "removal": (shutil, "rmtree")}[sys.argv[1]]
store = checkpoints.Checkpoints(sys.argv[2], keep=1)
setattr(owner, name, kill)
store.save({"w": jnp.full(600, 2.0)}, 2, {})
store.wait()
"""


@pytest.mark.parametrize(("before", "left"), [("manifest", 1), ("name", 1), ("removal", 2)])
def test_a_kill_while_the_only_checkpoint_is_replaced(saved, before, left):
    job = subprocess.run([sys.executable, "-c", KILLED, before, saved], timeout=120)
    assert job.returncode == -signal.SIGKILL
    assert checkpoints.valid_steps(saved) == [left]
    assert resume(saved) == left
    assert [path.name for path in saved.iterdir()] == [str(left)], "the rest was cleaned away"
    store = Checkpoints(saved, keep=1)
    store.save(state_at(2 if left == 1 else 3), left + 1, {})
    store.close()
    assert checkpoints.valid_steps(saved) == [left + 1]


def test_a_disk_that_is_full_for_the_manifest_alone_is_said_and_costs_one_checkpoint(
    saved, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = Checkpoints(saved, keep=1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_manifest", full)
        store.save(state_at(2), 2, {})
        with pytest.raises(CheckpointError) as error:
            store.save(state_at(3), 3, {})
    assert "step 2 cannot be written" in str(error.value)
    assert "No space left on device; once that is mended, " in str(error.value)
    assert str(error.value).endswith("the same command resumes at step 1")
    store.close()  # nothing is left to be said
    assert [path.name for path in saved.iterdir()] == ["1"]
    assert resume(saved) == 1


def test_an_error_before_the_arrays_are_written_is_one_line(saved, caplog):
    store = Checkpoints(saved, keep=1)
    (saved / "2.tmp").touch()  # where the arrays are to be written
    with pytest.raises(CheckpointError, match="step 2 cannot be written in .*: Not a directory;"):
        store.save(state_at(2), 2, {})
    store.close()
    assert caplog.text == ""
    assert resume(saved) == 1


def test_the_system_error_in_a_text_of_tensorstore():
    text = "OUT_OF_RANGE: Error writing \"w/0\" in a file [os_error_code='27']\nat a place"
    assert state_files.reason(ValueError(text)) == "File too large"
    assert state_files.reason(ValueError("other:\nmore")) == "other"
    assert state_files.reason(KeyError()) == "KeyError"


def test_the_newest_finished_checkpoint_stays_until_the_next_one_is(saved, monkeypatch):
    seen = []
    write = checkpoints.write_manifest

    def watched(folder, step):
        seen.append((step, checkpoints.valid_steps(saved)))
        write(folder, step)

    monkeypatch.setattr(checkpoints, "write_manifest", watched)
    store = Checkpoints(saved, keep=1)
    for step in (2, 3):
        store.save(state_at(step), step, {})
    store.close()
    assert seen == [(2, [1]), (3, [2])]
    assert checkpoints.valid_steps(saved) == [3]


def test_a_checkpoint_without_a_manifest_is_taken_if_no_other_is_left(saved, caplog):
    """As left by versions that gave a checkpoint its name before its manifest."""
    (saved / "1" / MANIFEST).unlink()
    assert checkpoints.valid_steps(saved) == []
    assert checkpoints.is_resumable(saved)
    with caplog.at_level("WARNING", logger="drifting"):
        assert resume(saved) == 1
    assert "checkpoints/1 had no manifest, so its files were not checked" in caplog.text
    assert checkpoints.valid_steps(saved) == [1]
    assert find_damage(saved / "1") is None


def test_what_older_versions_left_unfinished_is_cleaned_away(saved):
    for name in ("2.orbax-checkpoint-tmp", "2.orbax-checkpoint-tmp-1700000000", "2.tmp"):
        (saved / name / "state").mkdir(parents=True)
    (saved / "notes.tmp").touch()
    assert resume(saved) == 1
    assert sorted(path.name for path in saved.iterdir()) == ["1", "notes.tmp"]

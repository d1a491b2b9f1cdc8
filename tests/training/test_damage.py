"""Damage of every kind is named and costs only the checkpoints that it is in."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import optax
import pytest

from drifting.core.state import TrainState
from drifting.training import checkpoints
from drifting.training.checkpoints import CheckpointError, Checkpoints, restore
from drifting.training.integrity import MANIFEST


def state_at(step):
    state = TrainState.create({"g": jnp.full(9, float(step))}, {"g": optax.sgd(0.1)}, {})
    return state.replace(step=jnp.int32(step))


SHAPES = jax.eval_shape(lambda: state_at(0))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    store = Checkpoints(folder, keep=3)
    for step in (100, 200, 300):
        store.save(state_at(step), step, {"val_accuracy": step / 1000})
    store.close()
    return folder


@pytest.fixture
def saved(original, tmp_path):
    """A folder with checkpoints of steps 100, 200 and 300."""
    return shutil.copytree(original, tmp_path / "checkpoints")


def resume(folder):
    """The step that a new job resumes at, and what its state was saved with."""
    store = Checkpoints(folder, keep=3)
    state, step, _ = store.restore_newest(SHAPES)
    store.close()
    assert state.params["g"][0] == step == state.step
    return step


MANIFESTS = [
    b"[]", b"null", b"3", b'"text"', b"{}", b"\xff\xfe", b"", b'{"step": 300', b"[" * 100_000,
    b'{"step": 300, "files": []}', b'{"step": 300, "files": {}}',
    b'{"step": "300", "files": {"metrics/metrics": "0"}}',
    b'{"step": true, "files": {"metrics/metrics": "0"}}',
]  # fmt: skip


@pytest.mark.parametrize("content", MANIFESTS, ids=lambda content: repr(content[:20]))
def test_a_manifest_that_is_none(saved, content, caplog):
    (saved / "300" / MANIFEST).write_bytes(content)
    with caplog.at_level("WARNING", logger="drifting"):
        assert resume(saved) == 200
    assert "checkpoints/300 cannot be used: its manifest is damaged; moved to" in caplog.text


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def replace_by_loop(path):
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize("damage", [replace_by_folder, replace_by_loop])
@pytest.mark.parametrize("file", [MANIFEST, "metrics/metrics", "state/_METADATA"])
def test_a_file_that_cannot_be_read(saved, file, damage, caplog):
    damage(saved / "300" / file)
    with caplog.at_level("WARNING", logger="drifting"):
        assert resume(saved) == 200
    named = "its manifest" if file == MANIFEST else file
    assert f"checkpoints/300 cannot be used: {named} cannot be read (" in caplog.text
    assert [path.name[:4] for path in (saved.parent / "damaged_checkpoints").iterdir()] == ["300_"]


@pytest.mark.parametrize("step", [100, 300])
@pytest.mark.parametrize("content", [b"", b'{"val_accuracy": 0.9}', b"[]", b"\xff"])
def test_damaged_metrics_stop_nothing_and_count_for_nothing(saved, step, content):
    (saved / str(step) / "metrics" / "metrics").write_bytes(content)
    assert checkpoints.best_step(saved, "val_accuracy") == (200 if step == 300 else 300)
    with pytest.raises(CheckpointError, match=f"{step} cannot be used: metrics/metrics is trunc"):
        restore(saved, step, SHAPES)
    assert resume(saved) == (200 if step == 300 else 300)
    best = functools.partial(checkpoints.best_step, saved, "val_accuracy")
    store = Checkpoints(saved, keep=3, best=best)
    store.save(state_at(400), 400, {"val_accuracy": 0.1})
    store.close()
    assert 400 in checkpoints.valid_steps(saved)


def test_a_renamed_checkpoint_is_not_that_of_its_new_step(saved, caplog):
    (saved / "300").rename(saved / "500")
    with caplog.at_level("WARNING", logger="drifting"):
        assert resume(saved) == 200
    assert "500 cannot be used: it is the checkpoint of step 300, renamed; moved" in caplog.text
    with pytest.raises(CheckpointError, match="cannot be used: it was removed"):
        restore(saved, 300, SHAPES)


def test_exchanged_checkpoints(saved, caplog):
    (saved / "300").rename(saved / "x")
    (saved / "200").rename(saved / "300")
    (saved / "x").rename(saved / "200")
    with caplog.at_level("WARNING", logger="drifting"):
        assert resume(saved) == 100
    assert "300 cannot be used: it is the checkpoint of step 200, renamed" in caplog.text
    assert "200 cannot be used: it is the checkpoint of step 300, renamed" in caplog.text


def old_manifest(step_folder):
    """The manifest as older versions wrote it, without the step."""
    path = step_folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text())["files"]))


def test_the_manifests_of_older_versions(saved, caplog):
    for step in (100, 200, 300):
        old_manifest(saved / str(step))
    assert restore(saved, 200, SHAPES)[0].step == 200
    (saved / "300").rename(saved / "500")
    with caplog.at_level("WARNING", logger="drifting"):
        assert resume(saved) == 200
    assert "500 cannot be used: it is the checkpoint of step 300, renamed" in caplog.text


@pytest.mark.parametrize("name", ["0300", "²", "٣٠٠", "+300", "3_00", "300 copy", "best"])
def test_a_name_that_is_no_step_is_ignored_and_named(saved, name, caplog):
    (saved / "300").rename(saved / name)
    assert checkpoints.valid_steps(saved) == [100, 200]
    with caplog.at_level("WARNING", logger="drifting"):
        assert resume(saved) == 200
    assert f"checkpoints/{name} is ignored: it holds the checkpoint of step 300, but" in caplog.text
    assert (saved / name).is_dir(), "it may be somebody's copy"


def test_if_no_other_is_left_it_is_an_error_that_names_it(saved):
    (saved / "300").rename(saved / "0300")
    shutil.rmtree(saved / "100")
    (saved / "200" / "metrics" / "metrics").unlink()
    with pytest.raises(CheckpointError) as error:
        resume(saved)
    assert "200: metrics/metrics is missing; 0300: it holds the checkpoint" in str(error.value)
    assert sorted(path.name for path in saved.iterdir()) == ["0300", "200"]


def test_a_checkpoint_without_manifest_is_not_taken_for_another_step(saved):
    for step in (100, 200):
        shutil.rmtree(saved / str(step))
    (saved / "300" / MANIFEST).unlink()
    (saved / "300").rename(saved / "500")
    with pytest.raises(CheckpointError, match="500: it is the checkpoint of step 300, renamed"):
        resume(saved)


def test_what_is_named_as_a_step_and_is_none_is_moved_away(saved):
    (saved / "400").touch()
    (saved / "500" / "state").mkdir(parents=True)
    assert resume(saved) == 300
    assert checkpoints.valid_steps(saved) == [100, 200, 300]
    aside = sorted(path.name[:4] for path in (saved.parent / "damaged_checkpoints").iterdir())
    assert aside == ["400_", "500_"]

"""A run that is read while a job trains in it: what the job removes is passed over."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.core.method import BestScore
from drifting.runs.sampled import Sampled
from drifting.runs.workdir import Run, WorkdirError
from drifting.training import checkpoints
from drifting.training.checkpoints import CheckpointError, Checkpoints
from drifting.training.integrity import MANIFEST


class Read(Run):
    """A run without a config. `meanwhile` are the steps that the job makes before it is read."""

    def __init__(self, workdir, meanwhile=()):
        method = types.SimpleNamespace(best_score=BestScore("val_accuracy", largest=True))
        Sampled.__init__(self, workdir, None, method)
        self._shapes, self._left_out = {"w": jax.ShapeDtypeStruct((3,), jnp.float32)}, ()
        self.store = Checkpoints(workdir / "checkpoints", keep=1, best=self.best_step)
        self.meanwhile = list(meanwhile)

    def train_to(self, step, accuracy):
        self.store.save({"w": jnp.full(3, float(step))}, step, {"val_accuracy": accuracy})
        self.store.wait()

    def at(self, step):
        return self

    def restore(self, step):
        if self.meanwhile:
            self.train_to(*self.meanwhile.pop(0))
        return super().restore(step)


def test_the_last_is_the_newest_that_is_left(tmp_path, caplog):
    run = Read(tmp_path, [(2, 0.2), (3, 0.3)])  # each is better, so the one before goes
    run.train_to(1, 0.1)
    with caplog.at_level("WARNING", logger="drifting"):
        state, step = run.restore_last()
    assert step == 3
    np.testing.assert_array_equal(state["w"], [3, 3, 3])
    assert "checkpoints/1 cannot be used: it was removed; trying another" in caplog.text


def test_the_best_is_the_best_that_is_left(tmp_path):
    run = Read(tmp_path, [(2, 0.5), (3, 0.4)])
    run.train_to(1, 0.1)
    state, metrics, step = run.restore_best()
    assert (state["w"][0], metrics["val_accuracy"], step) == (2, 0.5, 2)


def test_damage_of_the_best_is_an_error(tmp_path):
    run = Read(tmp_path)
    run.train_to(1, 0.5)
    run.train_to(2, 0.1)
    (tmp_path / "checkpoints" / "1" / "state" / "_METADATA").unlink()
    with pytest.raises(CheckpointError, match="1 cannot be used: state/_METADATA is missing"):
        run.restore_best()
    assert run.restore_last()[1] == 2


def test_nothing_usable_ends(tmp_path):
    run = Read(tmp_path)
    run.train_to(1, 0.5)
    (tmp_path / "checkpoints" / "1" / MANIFEST).write_text("null")
    with pytest.raises(WorkdirError, match="no checkpoint in .* can be used"):
        run.restore_last()
    assert checkpoints.valid_steps(tmp_path / "checkpoints") == [1]

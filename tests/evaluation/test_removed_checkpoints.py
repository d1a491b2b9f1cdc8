"""A running job removes checkpoints while they are scored: they are passed over."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.core.errors import ConfigError
from drifting.evaluation import checkpoints as evaluation
from drifting.evaluation.checkpoints import CheckpointEvaluator
from drifting.training import checkpoints
from drifting.training.checkpoints import CheckpointError, Checkpoints
from drifting.training.integrity import MANIFEST

SHAPES = {"w": jax.ShapeDtypeStruct((3,), jnp.float32)}


class Job:
    """A run in a folder, and the job that trains there and keeps one checkpoint."""

    def __init__(self, workdir, step):
        self.workdir, self.folder = workdir, workdir / "checkpoints"
        self.store = Checkpoints(self.folder, keep=1)
        self.train_to(step)

    def train_to(self, step):
        self.store.save({"w": jnp.full(3, float(step))}, step, {})
        self.store.wait()

    def steps(self):
        return checkpoints.valid_steps(self.folder)

    def restore(self, step):
        return checkpoints.restore(self.folder, step, SHAPES)


@dataclasses.dataclass
class Scorer:
    """Notes what it restores. `meanwhile` are the steps that the job makes before it does."""

    job: Job
    meanwhile: list
    scored: dict = dataclasses.field(default_factory=dict)
    metrics, cfg_scale = ("fid",), 1.0

    def is_scored(self, rows, step):
        return step in self.scored

    def score(self, step):
        if self.meanwhile:
            self.job.train_to(self.meanwhile.pop(0))
        state, _ = self.job.restore(step)
        self.scored[step] = float(state["w"][0])
        return {}


@pytest.fixture
def evaluator(tmp_path, monkeypatch):
    """evaluator(first step, steps made meanwhile) -> the evaluator, and what it scored."""
    monkeypatch.setattr(evaluation.summary, "one_line", lambda row: "")
    monkeypatch.setattr(evaluation.time, "sleep", lambda seconds: None)

    def make(step, meanwhile):
        scorer = Scorer(Job(tmp_path, step), list(meanwhile))
        return CheckpointEvaluator(scorer.job, lambda step: [scorer], True), scorer

    return make


@pytest.mark.parametrize("which", ["last", "all"])
def test_the_next_one_is_scored_instead(evaluator, which, caplog):
    evaluator, scorer = evaluator(1, [2, 3])
    with caplog.at_level("WARNING", logger="drifting"):
        evaluator.score(which)
    assert scorer.scored == {3: 3.0}
    assert "step 1 was removed before it was scored" in caplog.text
    assert "step 2 was removed before it was scored" in caplog.text


def test_if_all_steps_asked_for_are_gone_it_is_said(evaluator):
    evaluator, _ = evaluator(1, [2])
    with pytest.raises(ConfigError, match=r"no checkpoint of steps \[1\]; has \[2\]"):
        evaluator.score("1")


def test_watching_goes_on_to_the_last_step(evaluator):
    evaluator, scorer = evaluator(1, [2, 3])
    evaluator.score("last")  # at step 3
    scorer.job.train_to(4)
    scorer.meanwhile = [5, 6]
    evaluator.watch(total_steps=6)
    assert scorer.scored == {3: 3.0, 6: 6.0}


def test_a_step_that_comes_while_another_is_scored_is_not_missed(evaluator):
    evaluator, scorer = evaluator(1, [])
    scorer.job.store = Checkpoints(scorer.job.folder, keep=9)
    scorer.meanwhile = [2]
    evaluator.score("last")
    evaluator.watch(total_steps=2)
    assert scorer.scored == {1: 1.0, 2: 2.0}


def test_a_damaged_one_is_still_an_error(evaluator):
    evaluator, scorer = evaluator(1, [])
    (scorer.job.folder / "1" / MANIFEST).write_text("{}")
    with pytest.raises(CheckpointError, match="its manifest is damaged"):
        evaluator.score("last")


def test_a_state_that_is_removed_while_it_is_read_is_not_used(tmp_path, monkeypatch):
    """What is missing could be filled with zeros."""
    job = Job(tmp_path, 1)

    def read(*_):
        job.train_to(2)
        return {"w": np.zeros(3)}

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.state_files, "read", read)
        with pytest.raises(CheckpointError, match="1 cannot be used: it was removed while it was"):
            job.restore(1)
    assert job.restore(2)[0]["w"][0] == 2

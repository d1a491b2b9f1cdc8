"""The best checkpoint of a translator is kept, also by runs that are killed, and found again."""

import pytest
import stub_translator

import drifting
from drifting.core.errors import ConfigError
from drifting.evaluation import record, scorer
from drifting.runs import listing
from drifting.runs.folder import WorkdirError
from drifting.runs.workdir import Run
from drifting.training import checkpoints

BEST = 6  # at which translations are as bright as the target domain


@pytest.fixture
def config(monkeypatch, tmp_path):
    """config(**values by dotted key) -> that of 10 steps, with a score after every second."""
    stub_translator.make_data(tmp_path / "data.npz", 60 + BEST * stub_translator.LEVELS)

    def make(**changed):
        given = {"train.evaluate": True, "train.total_steps": 10, "train.keep_checkpoints": 1}
        data = tmp_path / "data.npz"
        return stub_translator.config(monkeypatch, data, **given | changed)

    return make


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "run"


def kept(workdir):
    return checkpoints.valid_steps(workdir / "checkpoints")


def scored(workdir):
    return [row["step"] for row in record.read(workdir)]


def test_the_best_is_kept_and_everything_agrees_which_it_is(config, workdir):
    drifting.train(config(), workdir)
    assert scored(workdir) == [0, 2, 4, 6, 8, 10]
    assert kept(workdir) == [BEST, 10]
    distances = {row["step"]: row["frechet_distance"] for row in record.read(workdir)}
    state, _, step = Run(workdir).restore_best()
    assert (step, int(state.step)) == (BEST, BEST)
    found = listing.summarize(workdir)
    assert (found["best"], found["best_step"]) == (min(distances.values()), BEST)
    assert found["best_of"] == "frechet_distance, pixels, 12 samples" and "problem" not in found
    run = Run(workdir)
    assert [run.chosen(which)[1] for which in ("last", "best", "6", "10")] == [10, BEST, BEST, 10]
    with pytest.raises(WorkdirError, match="--checkpoint 5: choose last, best, or .*: 6, 10"):
        run.chosen("5")
    # It is the best by the run's own scores, whatever it is scored with.
    drifting.evaluate(workdir, "best", split="train", num_samples=6)
    assert scored(workdir)[-1] == BEST
    drifting.evaluate(workdir, "last", split="train", num_samples=6)
    assert Run(workdir).best_step() == listing.summarize(workdir)["best_step"] == BEST


def test_the_best_stays_next_to_the_newest_and_those_kept_by_their_steps(config, workdir):
    more = {"train.keep_checkpoints": 2, "train.keep_every_steps": 4}
    drifting.train(config(**more), workdir)
    assert kept(workdir) == [0, 4, BEST, 8, 10]


def test_of_a_run_whose_last_is_the_best_only_that_is_left(config, workdir):
    drifting.train(config(**{"train.total_steps": BEST}), workdir)
    assert kept(workdir) == [BEST]


@pytest.mark.parametrize(
    "when,step",
    [("before", BEST), ("after", BEST), pytest.param("before", 10, marks=pytest.mark.slow)],
)
def test_a_run_that_is_killed_at_a_score_keeps_the_best(config, workdir, monkeypatch, when, step):
    """Before the row of the score is written, or after that and before a checkpoint is removed."""
    score = scorer.Scorer.score

    def killed(self, at):
        if when == "after" or at != step:
            score(self, at)
        if at == step:
            raise KeyboardInterrupt
        return record.read(workdir)[-1]

    with monkeypatch.context() as patch:
        patch.setattr(scorer.Scorer, "score", killed)
        with pytest.raises(KeyboardInterrupt):
            drifting.train(config(), workdir)
    assert kept(workdir) == [BEST - 2 if step == BEST else BEST, step]
    drifting.train(config(), workdir)
    assert scored(workdir) == [0, 2, 4, 6, 8, 10]
    assert kept(workdir) == [BEST, 10]


def test_without_scores_only_the_newest_is_kept(config, workdir):
    drifting.train(config(**{"train.evaluate": False}), workdir)
    assert kept(workdir) == [10]
    assert Run(workdir).best_step() == 10
    assert "best" not in listing.summarize(workdir)
    with pytest.raises(ConfigError, match="no checkpoint of .* has a frechet_distance with the"):
        drifting.evaluate(workdir, "best")


@pytest.mark.slow
def test_a_run_resumed_without_scores_keeps_the_best(config, workdir):
    drifting.train(config(**{"train.total_steps": 8}), workdir)
    drifting.train(config(**{"train.evaluate": False}), workdir)
    assert kept(workdir) == [BEST, 10]


def test_scores_that_would_not_tell_the_best_are_refused(config, workdir):
    metrics = {"eval.metrics": ("content",)}
    with pytest.raises(ConfigError, match="eval.metrics = .'content',. lacks 'fid', which marks"):
        drifting.train(config(**metrics), workdir)
    assert not (workdir / "config.json").exists()
    drifting.train(config(**metrics, **{"train.evaluate": False}), workdir)

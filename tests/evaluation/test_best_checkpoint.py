"""Which checkpoint is the best one: only scores of the settings asked for are compared."""

import types

import pytest

from drifting.core.errors import ConfigError
from drifting.evaluation import metrics, record
from drifting.evaluation.checkpoints import CheckpointEvaluator

ASKED = {
    "data_set": "digits", "split": "train", "features": "pixels", "fid_mode": "",
    "num_samples": 1000, "cfg_scale": 1.5, "sampler": "", "weights": "ema",
}  # fmt: skip
STEPS = [100, 200, 300]


class Setting:
    """What a CheckpointEvaluator asks of a Scorer."""

    def __init__(self, scored, **changed):
        self.metrics, self.setting, self.scored = ("fid",), ASKED | changed, scored
        self.cfg_scale = self.setting["cfg_scale"]

    def identity(self, step):
        return {**self.setting, "step": step, "seed": 7}

    def score(self, step):
        self.scored.append(step)
        return {**self.identity(step), "nfe": 1, "frechet_distance": 0.0, "eval_seconds": 0.0}


@pytest.fixture
def best(tmp_path):
    """best(rows, *settings) -> the step that is scored for `--checkpoints best`."""

    def choose(rows, *settings):
        for step, score, changed in rows:
            row = {**ASKED, "seed": 42, **changed, "step": step, "frechet_distance": score}
            record.append(tmp_path, row)
        scored = []
        run = types.SimpleNamespace(workdir=tmp_path, steps=lambda: STEPS)
        scorers = [Setting(scored, **changed) for changed in settings or ({},)]
        CheckpointEvaluator(run, lambda step: scorers, skip_existing=False).score("best")
        return set(scored)

    return choose


@pytest.mark.parametrize(
    "other",
    [{"split": "test"}, {"data_set": "mnist"}, {"num_samples": 10}, {"cfg_scale": 1.0},
     {"sampler": "heun-25"}, {"weights": "raw"}, {"features": "inception"}, {"fid_mode": "clean"}],
)  # fmt: skip
def test_scores_of_other_settings_do_not_count(best, other):
    assert best([(100, 5.0, {}), (200, 1.0, other), (300, 4.0, {})]) == {300}


def test_scores_of_other_settings_alone_are_named(best):
    message = "no checkpoint has a frechet_distance with these settings .*split train.*first"
    with pytest.raises(ConfigError, match=message):
        best([(100, 5.0, {"split": "test"}), (200, None, {}), (999, 1.0, {})])


def test_several_seeds_count_by_their_mean(best):
    lucky = [(100, 1.0, {"seed": 1}), (100, 9.0, {"seed": 2})]
    steady = [(200, 4.0, {"seed": 1}), (200, 4.0, {"seed": 2})]
    assert best([*lucky, *steady]) == {200}


def test_a_seed_that_was_scored_twice_counts_once(best):
    rows = [(100, 1.0, {"seed": 1})] * 3 + [(100, 9.0, {"seed": 2}), (200, 4.0, {})]
    assert best(rows) == {200}


def test_of_several_guidance_scales_the_best_one_counts(best):
    rows = [
        (100, 2.0, {"cfg_scale": 1.0}),
        (100, 9.0, {}),
        (200, 3.0, {}),
        (300, 1.0, {"cfg_scale": 3.0}),
    ]
    assert best(rows, {"cfg_scale": 1.0}, {"cfg_scale": 1.5}) == {100}


@pytest.mark.parametrize(
    "names,column",
    [(("fid", "energy"), "frechet_distance"), (("kid", "energy"), "energy_distance"),
     (("kid",), "frechet_distance")],
)  # fmt: skip
def test_the_first_metric_that_can_rank_does(names, column):
    assert metrics.ranking(names).ranks_by == column

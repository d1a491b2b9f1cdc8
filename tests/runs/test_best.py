"""Which scores of evaluations count for the best checkpoint."""

import math

import pytest
from ml_collections import ConfigDict

from drifting.core.errors import ConfigError
from drifting.core.method import BestScore, Translator
from drifting.evaluation import record
from drifting.runs import best
from drifting.training import checkpoints

ROW = {
    "data_set": "npz:a.npz", "split": "test", "features": "pixels", "fid_mode": "",
    "num_samples": 12, "cfg_scale": 1.0, "sampler": "translation", "seed": 42, "weights": "ema",
}  # fmt: skip
CONFIG = {
    "data": {"source": "npz:a.npz", "test_split": "test"},
    "eval": {"features": "pixels", "fid_mode": "clean", "num_samples": 100, "cfg_scale": 1.0,
             "metrics": ("fid",)},
}  # fmt: skip
STEPS = [2, 4, 6]


@pytest.fixture
def find(tmp_path, monkeypatch):
    """find(rows, score, **config.eval) -> the best of checkpoints 2, 4 and 6.

    A row is a step, a Frechet distance, and what differs from ROW.
    """
    monkeypatch.setattr(checkpoints, "valid_steps", lambda folder: STEPS)

    def make(rows, score=Translator.best_score, **changed):
        for step, distance, other in rows:
            record.append(tmp_path, {**ROW, "step": step, "frechet_distance": distance, **other})
        config = ConfigDict(CONFIG)
        config.eval.update(changed)
        return best.find(tmp_path, score, config)

    return make


def test_the_smallest_or_the_largest_is_the_best_by_the_direction(find):
    rows = [(2, 5.0, {}), (4, 3.0, {}), (6, 9.0, {}), (8, 1.0, {})]  # 8 is gone
    assert find(rows) == (4, 3.0, "frechet_distance, pixels, 12 samples")
    largest = BestScore("frechet_distance", largest=True, evaluated=True)
    assert find([], largest)[:2] == (6, 9.0)


def test_of_equal_ones_the_latest_is_the_best(find):
    assert find([(2, 3.0, {}), (4, 3.0, {}), (6, 4.0, {})]).step == 4


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_a_score_that_is_missing_or_not_finite_never_counts(find, value):
    assert find([(2, 5.0, {}), (4, value, {}), (6, 9.0, {})])[:2] == (2, 5.0)


def test_nothing_is_the_best_without_scores(find):
    assert find([(2, math.nan, {}), (8, 1.0, {})]) is None


@pytest.mark.parametrize(
    "other",
    [{"split": "train"}, {"num_samples": 6}, {"num_samples": 200}, {"weights": "raw"},
     {"features": "inception"}, {"fid_mode": "legacy_pytorch"}, {"cfg_scale": 2.0},
     {"data_set": "statistics.npz"}, {"sampler": "euler-1"}],
)  # fmt: skip
def test_scores_with_other_settings_never_count(find, other):
    assert find([(2, 5.0, {}), (4, 1.0, other), (6, 9.0, {}), (6, 1.0, other)])[:2] == (2, 5.0)


def test_without_images_that_were_not_trained_on_those_that_were_count(find):
    rows = [(2, 5.0, {"split": "train"}), (4, 3.0, {"split": "train"})]
    assert find(rows)[:2] == (4, 3.0)


def test_data_that_were_moved_are_the_same_data(find):
    assert find([(2, 1.0, {"data_set": "npz:b.npz"}), (4, 3.0, {})])[:2] == (2, 1.0)


def test_several_seeds_count_by_their_mean(find):
    lucky = [(2, 1.0, {"seed": 1}), (2, 9.0, {"seed": 2})]
    assert find([*lucky, (4, 4.0, {})])[:2] == (4, 4.0)


def test_mifid_counts_on_inception(find):
    on = {"features": "inception", "fid_mode": "clean"}
    rows = [(2, 5.0, {**on, "mifid": 8.0}), (4, 7.0, {**on, "mifid": 7.5}), (6, 1.0, on)]
    found = find(rows, features="inception")
    assert found == (4, 7.5, "mifid, inception, 12 samples")


@pytest.mark.parametrize("features,wanted", [("inception", "mifid"), ("encoder:runs/a", "fid")])
def test_training_has_to_measure_what_marks_the_best(features, wanted):
    config = ConfigDict(CONFIG)
    config.eval.update(features=features, metrics=("content", "kid"))
    with pytest.raises(ConfigError, match=f"lacks '{wanted}', which marks .* '{features}': add it"):
        best.require_measured(Translator.best_score, config)
    config.eval.metrics = ("content", wanted)
    best.require_measured(Translator.best_score, config)
    best.require_measured(None, config)

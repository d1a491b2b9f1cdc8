"""Points through scoring: a generator that is known exactly, without a run."""

import dataclasses

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from drifting.core.errors import ConfigError
from drifting.evaluation import report, scorer
from drifting.evaluation.features import feature_function
from drifting.evaluation.session import Session
from drifting.evaluation.settings import ScoreSettings
from drifting.training.mesh import batch_sharding
from input_pipeline import sources, toy2d


@dataclasses.dataclass
class Exact:
    """Draws the eight Gaussians themselves, moved by the number of the checkpoint."""

    workdir: object
    sampler_name: str = "euler-3"
    config = ConfigDict()

    def steps(self):
        return [0, 1]

    def restore(self, step):
        return {"shift": np.float32(step)}, {"loss": 0.25}

    def sampler(self, cfg_scale, ema):
        mixture = toy2d.mixture("gaussians")
        centres, deviation = mixture.centres.astype(np.float32), np.float32(mixture.deviations[0])

        def generate(state, key, labels):
            noise = jax.random.normal(key, (len(labels), 2))
            return jax.numpy.asarray(centres)[labels] + deviation * noise + state["shift"]

        return generate

    def nfe(self, cfg_scale):
        return 3 if cfg_scale == 1.0 else 6

    def batch_sharding(self, batch_size):
        return batch_sharding(batch_size)


@pytest.fixture
def points():
    whole = sources.load("toy2d:gaussians", "test", image_size=8, channels=1)
    return dataclasses.replace(whole, images=whole.images[:1500], labels=whole.labels[:1500])


@pytest.fixture
def score(points, tmp_path):
    """score(which, run, **settings) -> the rows of the table."""

    def make(which="all", run=None, skip=False, **changed):
        given = dict(
            num_samples=600, batch_size=256, cfg_scale=1.0, seed=0, features="pixels",
            fid_mode="clean", metrics=("fid", "energy", "prdc"),
        )  # fmt: skip
        run = run or Exact(tmp_path)
        (tmp_path / "eval").mkdir(exist_ok=True)
        settings = ScoreSettings(**given | changed)
        function = feature_function(settings.features, points.space, settings.fid_mode)
        scales = [settings.cfg_scale]
        scorers = scorer.make_scorers(run, points, None, function, settings, scales, [0])
        Session(run, scorers, skip).score(which)
        return report.read_rows(tmp_path / "eval" / "fid_metrics.csv")

    return make


def test_true_points_score_as_real_ones_and_moved_ones_do_not(score, tmp_path):
    true, moved = score(save_samples=True)
    assert float(true["energy_distance"]) < 3 * float(true["energy_distance_real"]) < 0.03
    assert float(true["frechet_distance"]) < 0.02 and float(true["precision"]) > 0.9
    assert moved["energy_distance_real"] == true["energy_distance_real"]
    assert float(moved["energy_distance"]) > 0.5
    assert float(moved["frechet_distance"]) == pytest.approx(2.0, rel=0.2)  # |(1, 1)|^2
    assert (true["sampler"], true["nfe"], true["num_samples"]) == ("euler-3", "3", "600")
    artifacts = tmp_path / "eval" / "artifacts" / "ema_euler-3_cfg1_seed0_step0"
    assert (artifacts / "preview.png").stat().st_size > 10_000
    with np.load(artifacts / "samples" / "points.npz") as arrays:
        away = toy2d.mixture("gaussians").deviations_away(arrays["points"])
        np.testing.assert_array_equal(away.argmin(axis=1), arrays["labels"])
        assert len(away) == 600


def test_another_sampler_is_another_measurement(score, tmp_path):
    score("0", metrics=("energy",))
    assert len(score("0", metrics=("energy",), skip=True)) == 1
    other = Exact(tmp_path, sampler_name="heun-3")
    rows = score("0", other, metrics=("energy",), skip=True, cfg_scale=2.0)
    assert [(row["sampler"], row["nfe"]) for row in rows] == [("euler-3", "3"), ("heun-3", "6")]
    assert len(score("0", other, metrics=("energy",), skip=True)) == 3  # at scale 1


@pytest.mark.parametrize("metric", ["neighbours", "mifid", "is"])
def test_metrics_of_images_refuse_points(score, metric):
    with pytest.raises(ConfigError, match=f"{metric}: of images, and toy2d:gau.* have fid, kid, p"):
        score(metrics=("fid", metric))

"""Points through scoring: a generator that is known exactly, without a run."""

import numpy as np
import pytest

from drifting.core.errors import ConfigError
from input_pipeline.sources import toy2d


def test_true_points_score_as_real_ones_and_moved_ones_do_not(score, tmp_path):
    true, moved = score(save_samples=True)
    assert true["energy_distance"] < 3 * true["energy_distance_real"] < 0.03
    assert true["frechet_distance"] < 0.02 and true["precision"] > 0.9
    assert moved["energy_distance_real"] == true["energy_distance_real"]
    assert moved["energy_distance"] > 0.5
    assert moved["frechet_distance"] == pytest.approx(2.0, rel=0.2)  # |(1, 1)|^2
    assert (true["sampler"], true["nfe"], true["num_samples"]) == ("euler-3", 3, 600)
    name = "ema_euler-3_cfg1_seed0_step0_pixels_test_600_*"
    (artifacts,) = (tmp_path / "eval" / "artifacts").glob(name)
    assert (artifacts / "preview.png").stat().st_size > 10_000
    with np.load(artifacts / "samples" / "points.npz") as arrays:
        away = toy2d.mixture("gaussians").deviations_away(arrays["points"])
        np.testing.assert_array_equal(away.argmin(axis=1), arrays["labels"])
        assert len(away) == 600


def test_another_sampler_is_another_measurement(score, exact, tmp_path):
    score("0", metrics=("energy",))
    assert len(score("0", metrics=("energy",), skip=True)) == 1
    other = exact(tmp_path, sampler_name="heun-3")
    rows = score("0", other, metrics=("energy",), skip=True, cfg_scale=2.0)
    assert [(row["sampler"], row["nfe"]) for row in rows] == [("euler-3", 3), ("heun-3", 6)]
    assert len(score("0", other, metrics=("energy",), skip=True)) == 3  # at scale 1


@pytest.mark.parametrize("metric", ["neighbours", "mifid", "is"])
def test_metrics_of_images_refuse_points(score, metric):
    with pytest.raises(
        ConfigError,
        match=f"{metric}: defined for images only, .*from fid, kid, p",
    ):
        score(metrics=("fid", metric))

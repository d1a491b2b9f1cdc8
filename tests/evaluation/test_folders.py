"""Two sets of images: checked like a run, before anything is computed."""

import numpy as np
import pytest

from drifting.core.errors import ConfigError
from drifting.evaluation.checks import check_metrics
from drifting.evaluation.features import FeatureFunction, feature_function
from drifting.evaluation.folders import score_folders
from drifting.evaluation.settings import ScoreSettings
from drifting.training.mesh import batch_sharding
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Pixels, Points


def images_of(count, size=6, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)
    return set_of(images, Pixels((size, size, 3)))


def points_of(count, seed=0):
    points = np.random.default_rng(seed).standard_normal((count, 2)).astype(np.float32)
    return set_of(points, Points((2,)))


def set_of(values, space):
    labels = np.zeros(len(values), np.int32)
    return ImageSet(values, labels, ("all",), "folder", "all", space)


def scored(real, fake, *metrics, mode=""):
    function = feature_function("pixels", real.space, "clean")
    function = FeatureFunction(
        function.name, function.dimension, function.apply, function.identity, mode
    )
    settings = ScoreSettings(batch_size=16, metrics=metrics)
    return score_folders(real, fake, function, settings, batch_sharding(16))


def test_every_metric_of_pixels_is_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTING_CACHE", str(tmp_path))
    real, fake = images_of(20), images_of(12, seed=1)
    row = scored(real, fake, "fid", "kid", "prdc", "mifid", "energy", "neighbours")
    assert (row["num_real"], row["num_fake"]) == (20, 12)
    assert row["frechet_distance"] > 0 and row["nn_distance_samples"] > 0
    assert row["knn_accuracy"] is None and row["nn_distance_heldout"] is None
    assert scored(real, real, "neighbours")["nn_distance_samples"] == 0


@pytest.mark.parametrize(
    ("real", "fake", "metric", "message"),
    [
        (images_of(20), images_of(1), "fid", "--metrics fid needs at least 2 samples, got 1"),
        (images_of(20), images_of(3), "prdc", "--metrics prdc needs at least 4 samples, got 3"),
        (images_of(20), images_of(9), "is", "--metrics is needs at least 10 samples, got 9"),
        (images_of(20), images_of(12), "is", "needs the logits of a classifier, which fe.*pix"),
        (
            points_of(20),
            points_of(20),
            "neighbours",
            "neighbours: defined for images only, and",
        ),
        (
            images_of(20),
            images_of(20, 5),
            "fid",
            r"of shapes \(6, 6, 3\) and \(5, 5, 3\) cannot",
        ),
        (images_of(20), images_of(20), "fidd", "unknown metric 'fidd'"),
        (images_of(1), images_of(20), "fid", "--metrics fid needs at least 2 reference images, go"),
        (images_of(1), images_of(20), "kid", "--metrics kid needs at least 2 reference images, go"),
        (images_of(3), images_of(20), "prdc", "prdc needs at least 4 reference images, got 3: add"),
        (images_of(1), images_of(20), "mifid", "mifid needs at least 2 reference images, got 1"),
        (images_of(1), images_of(20), "energy", "energy needs at least 2 reference images, got 1"),
        (images_of(2), images_of(20), "neighbours", "neighbours needs at least 3 reference images"),
    ],
)
def test_what_cannot_be_scored_is_refused(real, fake, metric, message):
    with pytest.raises(ConfigError, match=message):
        scored(real, fake, metric)


def test_statistics_stand_in_for_reference_images_of_metrics_of_moments_alone():
    real = images_of(1)
    function = feature_function("pixels", real.space, "clean")
    settings = ScoreSettings(metrics=("fid",), statistics="other.npz")
    check_metrics(settings, real, function, real.space, 20)
    settings = ScoreSettings(metrics=("fid", "kid"), statistics="other.npz")
    with pytest.raises(ConfigError, match="kid needs at least 2 reference images, got 1"):
        check_metrics(settings, real, function, real.space, 20)


def test_few_images_are_scored_by_the_metrics_that_need_no_more(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTING_CACHE", str(tmp_path))
    assert scored(images_of(4), images_of(4, seed=1), "prdc")["precision"] is not None
    assert scored(images_of(3), images_of(2, seed=1), "neighbours")["nn_distance_samples"] > 0
    two = scored(images_of(2), images_of(2, seed=1), "fid", "kid", "mifid", "energy")
    assert two["frechet_distance"] > 0 and two["energy_distance"] > 0 and two["mifid"] > 0


def test_features_that_resize_do_not_make_pixels_comparable():
    with pytest.raises(ConfigError, match=r"neighbours: compares pixels, which shapes \(6, 6, 3\)"):
        scored(images_of(20), images_of(20, 5), "fid", "neighbours", mode="clean")

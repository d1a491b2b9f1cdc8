"""Reference statistics: kept once, read from other programs' files, refused where they differ."""

import logging

import numpy as np
import pytest

from drifting.evaluation import extraction, reference_statistics
from drifting.evaluation.features import FeatureFunction, feature_function
from drifting.evaluation.reference_statistics import StatisticsError
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Pixels

SPACE = Pixels((4, 4, 1))
PIXELS = feature_function("pixels", SPACE, "clean")
CLEAN = FeatureFunction("inception", 16, PIXELS.apply, "inception:clean:abc", "clean")


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTING_CACHE", str(tmp_path / "cache"))
    pixels = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1), np.uint8)
    labels = np.zeros(50, np.int32)
    return ImageSet(pixels, labels, ("all",), "made", "train", SPACE)


def test_computed_once_and_then_read(images, monkeypatch):
    first = reference_statistics.moments_of(images, PIXELS, 16)
    monkeypatch.setattr(extraction, "extract_features", None)
    second = reference_statistics.moments_of(images, PIXELS, 16)
    assert second.n == 50
    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(first.covariance, second.covariance)
    with pytest.raises(TypeError):  # other weights or another mode: computed, not read
        reference_statistics.moments_of(images, CLEAN, 16)


def test_a_damaged_cache_is_made_again(images, tmp_path, caplog):
    first = reference_statistics.moments_of(images, PIXELS, 16)
    (file,) = (tmp_path / "cache" / "statistics").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with caplog.at_level(logging.WARNING, logger="drifting"):
        again = reference_statistics.moments_of(images, PIXELS, 16)
    assert "computing the statistics again" in caplog.text
    np.testing.assert_array_equal(first.mean, again.mean)


def test_files_of_other_programs(tmp_path, caplog):
    path = tmp_path / "cifar10_train.npz"
    np.savez(path, mu=np.zeros(16), sigma=np.eye(16))
    with caplog.at_level(logging.WARNING, logger="drifting"):
        found = reference_statistics.read(path, CLEAN)
    assert "does not say how it was made" in caplog.text
    np.testing.assert_array_equal(found.covariance, np.eye(16))
    assert found.n == reference_statistics.UNKNOWN_COUNT


def test_what_is_known_to_differ_is_refused(images, tmp_path):
    moments = reference_statistics.moments_of(images, PIXELS, 16)
    path = tmp_path / "mine.npz"
    reference_statistics.write(path, moments, CLEAN)
    legacy = FeatureFunction("inception", 16, CLEAN.apply, "other", "legacy_pytorch")
    with pytest.raises(StatisticsError, match="made with --fid_mode clean, but .* legacy_pytorch"):
        reference_statistics.read(path, legacy)
    retrained = FeatureFunction("inception", 16, CLEAN.apply, "inception:clean:xyz", "clean")
    with pytest.raises(StatisticsError, match="made with another network"):
        reference_statistics.read(path, retrained)
    theirs = tmp_path / "cifar10_legacy_tensorflow_train_32.npz"  # clean-fid's naming
    np.savez(theirs, mu=np.zeros(16), sigma=np.eye(16))
    with pytest.raises(StatisticsError, match="made with --fid_mode legacy_tensorflow"):
        reference_statistics.read(theirs, CLEAN)


@pytest.mark.parametrize(
    "arrays,message",
    [
        (
            dict(mu=np.zeros(5), sigma=np.eye(5)),
            "of 5 features, but features 'inception' have 16",
        ),
        (dict(mean=np.zeros(16)), "no arrays mu and sigma"),
    ],
)
def test_unusable_files(tmp_path, arrays, message):
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(StatisticsError, match=message):
        reference_statistics.read(tmp_path / "s.npz", CLEAN)
    with pytest.raises(StatisticsError, match="there is no file"):
        reference_statistics.read(tmp_path / "nowhere.npz", CLEAN)

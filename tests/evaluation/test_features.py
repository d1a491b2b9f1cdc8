import jax
import numpy as np
import pytest

from drifting.core.errors import ConfigError
from drifting.evaluation.features import feature_function
from drifting.pretrained.files import WeightsError
from drifting.runs import evaluate
from input_pipeline.space import Latents, Pixels, Points

IMAGES = Pixels((4, 4, 1))


def test_pixels_are_flat_and_in_unit_range():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 2), np.uint8)
    features = feature_function("pixels", Pixels((4, 3, 2)), "clean")
    assert (features.name, features.dimension) == ("pixels", 24)
    found, logits = jax.jit(features.apply)(images)
    assert logits is None
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, images.reshape(5, 24) / 255.0, rtol=1e-6)


def test_points_are_their_own_features_and_have_no_others():
    points = np.float32([[-3.0, 0.5], [700.0, 2.0], [0.0, 1.0]])
    features = feature_function("pixels", Points((2,)), "clean")
    assert features.dimension == 2
    np.testing.assert_array_equal(jax.jit(features.apply)(points).features, points)
    for name in ("inception", "encoder:runs/none"):
        with pytest.raises(
            ConfigError, match=r"for images, and the data are points \(2,\).*pixels"
        ):
            evaluate.feature_function(name, Points((2,)), "clean")


def test_latents_are_their_own_features_too():
    latents = np.random.default_rng(0).standard_normal((5, 2, 2, 4), np.float32)
    features = feature_function("pixels", Latents((2, 2, 4)), "clean")
    assert features.dimension == 16
    np.testing.assert_array_equal(features.apply(latents).features, latents.reshape(5, 16))
    with pytest.raises(ConfigError, match=r"for images, and the data are latents \(2, 2, 4\)"):
        feature_function("inception", Latents((2, 2, 4)), "clean")


def test_equal_spaces_share_a_program():
    one, other = (feature_function("pixels", Pixels((4, 4, 1)), "clean") for _ in range(2))
    structures = [jax.tree.structure(features.apply) for features in (one, other)]
    assert structures[0] == structures[1] and hash(structures[0]) == hash(structures[1])


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown features 'pixel', known: .*pixels.*; did you "):
        feature_function("pixel", IMAGES, "clean")
    with pytest.raises(ConfigError, match="known: .*pixels") as error:
        feature_function("zzz", IMAGES, "clean")
    assert "did you mean" not in str(error.value)


def test_an_unknown_mode_is_told_the_nearest():
    with pytest.raises(ConfigError, match="unknown FID mode 'cleen'.*did you mean 'clean'"):
        feature_function("pixels", IMAGES, "cleen")


def test_missing_weights_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTING_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"no weights at .*fetch_inception.py.*pixels"):
        feature_function("inception", IMAGES, "clean")

"""What is taken of a set is a random part of it, and the same in whatever order it comes."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from drifting.evaluation.comparison import Reference
from drifting.evaluation.features import FeatureBatch, FeatureFunction, feature_function
from drifting.evaluation.folders import score_folders
from drifting.evaluation.settings import ScoreSettings
from drifting.training.mesh import batch_sharding
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Pixels


def set_of(images):
    labels = np.zeros(len(images), np.int32)
    return ImageSet(images, labels, ("all",), "made", "test", Pixels(images.shape[1:]))


def sorted_images(count, seed=0):
    """From dark to bright, as a folder sorted by class may be."""
    noise = np.random.default_rng(seed).integers(-20, 20, (count, 2, 2, 1))
    return (np.linspace(30, 220, count).reshape(-1, 1, 1, 1) + noise).astype(np.uint8)


def test_held_out_images_are_a_random_part():
    images = sorted_images(400)
    function = feature_function("pixels", Pixels((2, 2, 1)), "clean")

    def heldout(images, count):
        reference = Reference(
            set_of(images), set_of(images), function, batch_size=8, heldout_count=count
        )
        return reference.heldout

    part = heldout(images, 100)
    assert abs(part.mean() - images.mean()) < 3 * images.std() / 10
    np.testing.assert_array_equal(heldout(images[::-1], 100), part)
    assert sorted(heldout(images, 999).ravel()) == sorted(images.ravel())


def test_features_of_a_reference_come_in_one_order():
    images = sorted_images(50)
    function = feature_function("pixels", Pixels((2, 2, 1)), "clean")

    def vectors(images):
        given = dict(batch_size=8, heldout_count=0)
        return Reference(set_of(images), None, function, **given).vectors

    found = vectors(images)
    np.testing.assert_array_equal(vectors(images[::-1]), found)
    assert abs(np.corrcoef(np.arange(50), found[:, 0])[0, 1]) < 0.5  # not from dark to bright


@dataclasses.dataclass(frozen=True)
class Banded:
    """A classifier that is confident of the brightness band of an image."""

    def __call__(self, images):
        brightness = images.reshape(len(images), -1).astype(jnp.float32).mean(axis=1) / 25.5
        logits = -5.0 * jnp.square(brightness[:, None] - jnp.arange(10.0)[None, :])
        return FeatureBatch(images.reshape(len(images), -1).astype(jnp.float32), logits)


def test_every_score_of_a_folder_is_that_of_the_set(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTING_CACHE", str(tmp_path))
    function = FeatureFunction("banded", 4, Partial(Banded()), "banded")
    settings = ScoreSettings(batch_size=32, metrics=("fid", "kid", "is", "prdc", "energy", "mifid"))
    rows = np.random.default_rng(3).permutation(90)
    real, fake = sorted_images(90), sorted_images(130, seed=1)

    def score(real, fake):
        row = score_folders(set_of(real), set_of(fake), function, settings, batch_sharding(32))
        return {k: v for k, v in row.items() if k != "eval_seconds"}

    found = score(real, fake)
    assert score(real[rows], fake[::-1]) == found
    assert found["inception_score"] > 4.0  # of ten splits by brightness: at most 2
    assert found["energy_distance"] < 3 * found["energy_distance_real"]


def test_statistics_are_read_before_anything_is_computed(tmp_path):
    images = set_of(sorted_images(10))
    function = feature_function("pixels", images.space, "clean")
    with pytest.raises(Exception, match="there is no file"):
        Reference(images, None, function, batch_size=8, heldout_count=0, statistics="none.npz")

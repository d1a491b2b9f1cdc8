"""Scores of real CIFAR-10 images behave as scores should."""

import dataclasses

import numpy as np
import pytest

from drifting.evaluation import extraction, metrics
from drifting.evaluation.comparison import Comparison, Reference, samples_of
from drifting.evaluation.features import feature_function, inception_features
from drifting.pretrained import inception
from input_pipeline import sources
from input_pipeline.space import Pixels

NOISE = (0.0, 32.0, 64.0, 96.0, 128.0, 160.0)  # standard deviation in grey levels


@pytest.fixture
def real(tfds_data_dir, monkeypatch):
    """real(split) -> CIFAR-10."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_data_dir))
    return lambda split: sources.load("tfds:cifar10", split, image_size=32, channels=3)


def shrunk(images):
    """8x8: block means, so that scores take seconds."""
    blocks = images.images.reshape(-1, 8, 4, 8, 4, 3).mean(axis=(2, 4))
    return dataclasses.replace(
        images,
        images=np.round(blocks).astype(np.uint8),
        space=Pixels((8, 8, 3)),
    )


def take(images, count):
    return dataclasses.replace(images, images=images.images[:count], labels=images.labels[:count])


def score(reference, images, features, names):
    """Every column of the metrics of images against a Reference."""
    collected = extraction.extract_features(
        extraction.in_batches(images, 50),
        reference.images.space,
        features,
        total=len(images),
        batch_size=50,
        keep_vectors=True,
    )
    comparison = Comparison(reference, samples_of(collected, images, None), seed=0)
    return metrics.measure(names, comparison)


def noisy(images, deviation):
    noise = np.random.default_rng(0).normal(0, deviation, images.shape) if deviation else 0.0
    return np.clip(np.round(images + noise), 0, 255).astype(np.uint8)


def reference_of(images, features):
    return Reference(images, None, features, batch_size=50, heldout_count=0)


def scores_by_noise(real, features, count, tmp_path, monkeypatch):
    """Every column at each noise level, the distances of which must rise."""
    train, images = take(real("train"), count), real("test").images[:count]
    monkeypatch.setenv("DRIFTING_CACHE", str(tmp_path))
    reference = reference_of(train, features)
    scores = [score(reference, noisy(images, d), features, ("fid", "kid", "prdc")) for d in NOISE]
    for column in ("frechet_distance", "kid"):
        values = [s[column] for s in scores]
        assert values == sorted(values), f"{column} {values}"
    return scores


@pytest.mark.slow
def test_train_against_test_is_small_and_falls_with_the_number(real, tmp_path, monkeypatch):
    features = feature_function("pixels", Pixels((8, 8, 3)), "clean")
    train, test = shrunk(real("train")), shrunk(real("test"))
    monkeypatch.setenv("DRIFTING_CACHE", str(tmp_path))
    distances = []
    for count in (250, 1000, 4000):
        reference = reference_of(take(train, count), features)
        found = score(reference, test.images[:count], features, ("fid",))
        distances.append(found["frechet_distance"])
    assert distances[0] > distances[1] > distances[2]
    far = score(reference, 255 - test.images[:4000], features, ("fid",))["frechet_distance"]
    assert distances[2] < far / 2


@pytest.mark.slow
def test_pixel_scores_rise_with_noise(real, tmp_path, monkeypatch):
    features = feature_function("pixels", Pixels((8, 8, 3)), "clean")
    small = {split: shrunk(real(split)) for split in ("train", "test")}
    scores = scores_by_noise(small.get, features, 2000, tmp_path, monkeypatch)
    for column in ("precision", "density", "coverage"):
        values = [s[column] for s in scores]
        assert values[0] > values[-1], f"{column} {values}"


@pytest.mark.slow
def test_inception_scores_rise_with_noise(real, inception_state, tmp_path, monkeypatch):
    features = inception_features(inception.to_params(inception_state), "clean")
    scores = scores_by_noise(real, features, 200, tmp_path, monkeypatch)
    print([(s["frechet_distance"], s["kid"]) for s in scores])

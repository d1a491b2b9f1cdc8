"""Features of many images, batch by batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from drifting.evaluation import extraction
from drifting.evaluation.features import FeatureBatch, FeatureFunction, feature_function
from drifting.evaluation.metrics.frechet import Moments, frechet_distance
from drifting.training.mesh import batch_sharding
from input_pipeline.space import Pixels, Points

IMAGES = np.random.default_rng(0).integers(0, 256, (130, 4, 4, 1), np.uint8)
SPACE = Pixels((4, 4, 1))
PIXELS = feature_function("pixels", SPACE, "clean")


def extracted(images, features, batch_size, space=SPACE, **options):
    batches = extraction.in_batches(images, batch_size)
    return extraction.extract_features(
        batches, space, features, total=len(images), batch_size=batch_size, **options
    )


@pytest.mark.parametrize("batch_size", [7, 64, 500])
def test_moments_of_images_are_those_of_their_features(batch_size):
    found = extracted(IMAGES, PIXELS, batch_size)
    rows = IMAGES.reshape(130, -1) / 255.0
    assert found.moments.n == 130
    assert found.vectors is None
    np.testing.assert_allclose(found.moments.mean, rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.moments.covariance, np.cov(rows.T), rtol=1e-5, atol=1e-6)


def test_vectors_are_kept_in_order_without_padding():
    found = extracted(IMAGES, PIXELS, 64, keep_vectors=True)
    np.testing.assert_allclose(found.vectors, IMAGES.reshape(130, -1) / 255.0, rtol=1e-6)
    assert found.logits is None


def test_devices_share_a_batch_and_agree_with_one():
    sharding = batch_sharding(64)
    assert sharding.num_devices == 8
    one, eight = extracted(IMAGES, PIXELS, 64), extracted(IMAGES, PIXELS, 64, sharding=sharding)
    np.testing.assert_allclose(eight.moments.mean, one.moments.mean, rtol=1e-6)
    np.testing.assert_allclose(
        eight.moments.covariance, one.moments.covariance, rtol=1e-5, atol=1e-7
    )
    assert batch_sharding(6).num_devices == 2


def test_features_with_other_weights_run_the_same_program():
    traces = []

    def project(weights, images):
        traces.append(images.shape)
        return FeatureBatch(images.reshape(len(images), -1).astype(jnp.float32) @ weights, None)

    means = []
    for scale in (1.0, 2.0):
        weights = jnp.full((16, 2), scale)
        features = FeatureFunction("project", 2, Partial(project, weights), f"project:{scale}")
        means.append(extracted(IMAGES[:20], features, 8).moments.mean)
    assert traces == [(8, 4, 4, 1)]
    np.testing.assert_allclose(means[1], 2 * means[0], rtol=1e-6)


def test_points_are_their_own_features():
    points = np.random.default_rng(1).standard_normal((30, 2)).astype(np.float32)
    space = Points((2,))
    values = feature_function("pixels", space, "clean")
    found = extracted(points, values, 8, space, keep_vectors=True, sharding=batch_sharding(8))
    np.testing.assert_array_equal(found.vectors, points)
    np.testing.assert_allclose(found.moments.covariance, np.cov(points.T), rtol=1e-5)


@pytest.mark.parametrize(
    "space,expected,shape,dtype",
    [
        (SPACE, "uint8 images", (4, 4, 4, 1), np.float32),
        (SPACE, "uint8 images", (4, 2), np.float64),
        (SPACE, "uint8 images", (4, 2), np.float32),
        (Points((2,)), "float32 points", (4, 2), np.float64),
        (Points((2,)), "float32 points", (4, 4, 4, 1), np.uint8),
    ],
)
def test_moments_of_other_arrays_are_refused(space, expected, shape, dtype):
    with pytest.raises(ValueError, match=f"expected {expected} .*, got {np.dtype(dtype)}"):
        extracted(np.zeros(shape, dtype), PIXELS, 2, space)


@pytest.mark.parametrize("dimension", [256, pytest.param(2048, marks=pytest.mark.slow)])
def test_fifty_thousand_far_from_zero_lose_nothing(dimension):
    """A mean of 1,000 deviations, against float64 in moments and in Frechet distance."""
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((50_000, dimension), np.float32) + 1000.0
    collector = extraction.FeatureCollector(dimension, keep_vectors=False)
    for block in extraction.in_batches(rows, 5000):
        collector.add(FeatureBatch(jax.device_put(block), None))
    found = collector.collected().moments
    rows = rows.astype(np.float64)
    exact = Moments(len(rows), rows.mean(0), np.cov(rows.T))
    np.testing.assert_allclose(found.mean, exact.mean, rtol=1e-9)
    np.testing.assert_allclose(found.covariance, exact.covariance, atol=1e-5)
    scale = np.linspace(0.5, 2.0, dimension)
    other = Moments(100, exact.mean + 0.1, np.diag(scale))
    expected = frechet_distance(other, exact)
    np.testing.assert_allclose(frechet_distance(other, found), expected, rtol=1e-4)

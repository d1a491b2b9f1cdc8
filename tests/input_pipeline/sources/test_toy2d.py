"""Points against their exact distributions; and data sets of floats instead of bytes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import KDTree
from sklearn.datasets import make_moons

from input_pipeline import sources, splits
from input_pipeline.sources import DataError, toy2d

NUM = 100_000


def load(name, split="train"):
    return sources.load(f"toy2d:{name}", split, image_size=8, channels=1)


def raw(name, num=NUM, seed=5):
    """A draw before it is standardised, and its labels."""
    points, labels = toy2d.draw(name, num, seed)
    of = toy2d.target(name)
    return points * np.sqrt(of.variance) + of.mean[None], labels


@pytest.mark.parametrize("name", toy2d.TARGETS)
def test_splits_are_fixed_and_disjoint(name, tmp_path):
    train, test = load(name), load(name, "test")
    assert train.images.shape == (50_000, 2) and test.images.shape == (10_000, 2)
    assert train.images.dtype == np.float32 and train.labels.dtype == np.int32
    assert set(train.labels) == set(range(train.num_classes)) and train.num_classes > 1
    np.testing.assert_array_equal(load(name).images, train.images)
    assert not set(map(bytes, test.images)) & set(map(bytes, train.images))
    assert train.fingerprint != test.fingerprint
    assert not list(tmp_path.iterdir())  # not cached: drawing is faster than reading


@pytest.mark.parametrize("name", toy2d.TARGETS)
def test_the_exact_moments_standardise_every_draw(name):
    variances = []
    for seed in range(2):
        points, labels = toy2d.draw(name, NUM, seed)
        points = points.astype(np.float64)
        np.testing.assert_allclose(points.mean(axis=0), 0.0, atol=5 * 1.25 / np.sqrt(NUM))
        variances.append(points.var(axis=0).mean())
        weights = toy2d.target(name).weights
        np.testing.assert_allclose(np.bincount(labels) / NUM, weights, atol=5 / np.sqrt(4 * NUM))
    np.testing.assert_allclose(variances, 1.0, atol=0.015)
    assert variances[0] != pytest.approx(variances[1], abs=1e-9)  # draws are not rescaled to 1


@pytest.mark.parametrize("name", toy2d.MIXTURES)
def test_draws_match_their_exact_mixture(name):
    mixture = toy2d.mixture(name)
    points, labels = toy2d.draw(name, NUM, 5)
    away = mixture.deviations_away(points)
    np.testing.assert_allclose(np.mean(away.min(axis=1) < 3), 1 - np.exp(-4.5), atol=0.002)
    own = away[np.arange(NUM), labels]
    np.testing.assert_allclose(np.mean(own**2), 2.0, rtol=0.02)  # chi-square of two coordinates
    for k, (centre, deviation) in enumerate(zip(mixture.centres, mixture.deviations, strict=True)):
        np.testing.assert_allclose(points[labels == k].mean(axis=0), centre, atol=0.01)
        np.testing.assert_allclose(points[labels == k].std(axis=0), deviation, rtol=0.04)
    gaps = np.linalg.norm(mixture.centres[:, None] - mixture.centres[None], axis=-1)
    reach = 3 * (mixture.deviations[:, None] + mixture.deviations[None])
    assert np.all((gaps > reach) | np.eye(len(gaps), dtype=bool))


def test_gaussians_are_eight_equal_modes_and_blobs_differ():
    circle, blobs = toy2d.mixture("gaussians"), toy2d.mixture("blobs")
    assert len(circle.centres) == 8
    assert np.ptp(np.linalg.norm(circle.centres, axis=1)) < 1e-12
    assert np.ptp(circle.weights) == 0 == np.ptp(circle.deviations)
    assert blobs.deviations.max() > 2 * blobs.deviations.min()
    assert blobs.weights.max() > 1.5 * blobs.weights.min()


def test_moons_lie_about_the_half_circles_of_scikit_learn():
    points, labels = raw("moons", 4000)
    curve, of = make_moons(2000, noise=None)
    for label in (0, 1):
        distance, _ = KDTree(curve[of == label]).query(points[labels == label])
        np.testing.assert_allclose(np.sqrt(np.mean(distance**2)), toy2d.MOON_DEVIATION, rtol=0.1)


def test_rings_have_two_radii_and_all_angles():
    points, labels = raw("rings")
    radius = np.linalg.norm(points, axis=1)
    for label, expected in enumerate((0.5, 1.0)):
        np.testing.assert_allclose(radius[labels == label].mean(), expected, rtol=0.01)
        assert radius[labels == label].std() < 1.1 * toy2d.RING_DEVIATION
    angles = np.histogram(np.arctan2(*points.T), 8)[0]
    np.testing.assert_allclose(angles / NUM, 1 / 8, atol=0.01)


def test_a_checkerboard_fills_every_other_cell_evenly():
    points, labels = raw("checkerboard")
    cells = np.floor(points.clip(1e-6, 4 - 1e-6)).astype(int)
    assert np.mean(cells.sum(axis=1) % 2 == 0) > 0.9999  # float32 may move a point over an edge
    names = load("checkerboard").class_names
    assert np.mean([names[k] == f"{i} {j}" for k, (i, j) in zip(labels, cells, strict=True)]) > 0.99
    inside = np.histogram2d(*(points % 1.0).T, bins=4)[0]
    np.testing.assert_allclose(inside / NUM, 1 / 16, atol=0.005)


def test_unknown_targets_and_splits_are_named():
    with pytest.raises(DataError, match=r"toy2d:moon; known are gaussians.*did you mean 'toy2d:mo"):
        load("moon")
    with pytest.raises(DataError, match="no split 'val'; it has train, test"):
        load("moons", "val")
    with pytest.raises(DataError, match="toy2d:moons is not a normal mixture; choose gauss"):
        toy2d.mixture("moons")


# --- float data sets -----------------------------------------------------------------------------


def test_draws_of_points_are_unchanged_rows():
    points = load("moons", "test")
    known = {row.tobytes(): label for row, label in zip(points.images, points.labels, strict=True)}

    @jax.jit
    def draws(data, key, classes, step):
        return data.positives(key, classes, 5), (data.draw(key, 7), data.next_batch(key, step, 7))

    classes, step = jnp.asarray([1, 0]), jnp.asarray(3, jnp.int32)
    positives, batches = draws(points.to_device(), jax.random.key(0), classes, step)
    assert positives.shape == (2, 5, 2)
    positives = np.asarray(positives)
    assert [[known[row.tobytes()] for row in rows] for rows in positives] == [[1] * 5, [0] * 5]
    for drawn, labels in batches:
        assert drawn.shape == (7, 2) and drawn.dtype == jnp.float32
        assert [known[row.tobytes()] for row in np.asarray(drawn)] == labels.tolist()


def test_statistics_and_splits_of_points():
    points = load("blobs", "test")
    mean, deviation = splits.channel_statistics(points)
    np.testing.assert_allclose(mean, points.images.astype(np.float64).mean(axis=0))
    np.testing.assert_allclose(deviation, points.images.astype(np.float64).std(axis=0))
    assert mean.dtype == deviation.dtype == np.float64 and mean.shape == (2,)
    split = splits.make(points, 1000)
    fit, held_out = split.apply(points)
    assert fit.images.shape == (9000, 2) and held_out.images.shape == (1000, 2)
    bits = load("blobs", "test")
    bits.images[0, 0] = np.nextafter(bits.images[0, 0], np.float32(9))
    assert bits.fingerprint != points.fingerprint

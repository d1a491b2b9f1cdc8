"""KID, energy distance, precision and recall, Inception Score against double precision formulas."""

import jax
import numpy as np
import pytest

from drifting.evaluation.metrics import energy, inception_score, kid, manifold


@pytest.fixture
def numbers(golden):
    with jax.enable_x64(True):
        yield golden("10_frechet_and_metrics.npz")


def double(array):
    return np.asarray(array, np.float64)


def test_kernel_inception_distance(numbers):
    x, y = double(numbers["in.kid.x"]), double(numbers["in.kid.y"])
    for given, unbiased, name in ((y, True, "unbiased"), (y, False, "biased")):
        found = kid.squared_mmd(x, given, unbiased)
        np.testing.assert_allclose(found, numbers[f"out.kid_{name}_f64"], rtol=1e-9)
    expected = numbers["out.kid_x_with_x_unbiased_f64"]
    np.testing.assert_allclose(kid.squared_mmd(x, x), expected, rtol=1e-9)


def test_energy_distance(numbers):
    x, y = double(numbers["in.energy.x"]), double(numbers["in.energy.y"])
    for unbiased, name in ((False, "v"), (True, "u")):
        found = energy.energy_distance(x, y, unbiased)
        np.testing.assert_allclose(found, numbers[f"out.energy_{name}_statistic_f64"], rtol=1e-9)


def neighbours(points, radius):
    """The k for which these radii are the distances to the k-th nearest other point."""
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    ranked = np.sort(apart, axis=1)  # the point itself comes first
    (k,) = np.flatnonzero(np.isclose(ranked, radius[:, None], rtol=1e-5, atol=0).all(axis=0))
    return int(k)


def test_precision_recall_density_coverage(numbers):
    real, fake = double(numbers["in.pr.real"]), double(numbers["in.pr.fake"])
    k = neighbours(real, numbers["out.pr.radius_real"])
    assert k == neighbours(fake, numbers["out.pr.radius_fake"])
    found = manifold.compare(real, fake, k=k)
    np.testing.assert_array_equal(found.balls_of_fake > 0, numbers["out.pr.precision_per_fake"])
    np.testing.assert_array_equal(found.recalled, numbers["out.pr.recall_per_real"])
    for name, value in found.scores().items():
        np.testing.assert_allclose(value, numbers[f"out.pr.{name}_f64"], rtol=1e-9)


def test_inception_score(numbers):
    logits = numbers["in.is.logits"]
    mean, _ = inception_score.inception_score(logits, splits=1)
    np.testing.assert_allclose(mean, numbers["out.is_one_split_f64"], rtol=1e-6)

"""Metrics on point sets where the answer is known, and blockwise against direct formulas."""

import numpy as np
import pytest
import scipy.spatial.distance as direct

from drifting.evaluation.metrics import (
    energy,
    inception_score,
    kid,
    manifold,
    memorization,
    pairwise,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 8)).astype(np.float32)
Y = (RNG.standard_normal((45, 8)) + 0.5).astype(np.float32)


@pytest.fixture
def small_blocks(monkeypatch):
    """Seven rows a block: several blocks, and a last one that is not full."""
    monkeypatch.setattr(pairwise, "BLOCK_PAIRS", 7 * 45)


def test_rows_are_joined_in_order_without_padding(small_blocks):
    found = pairwise.map_rows(lambda rows, start, y: (rows[:, 0], rows @ y.T), X, Y)
    np.testing.assert_array_equal(found[0], X[:, 0])
    np.testing.assert_allclose(found[1], X @ Y.T, rtol=1e-4, atol=1e-5)


def test_manifold_in_blocks(small_blocks):
    real, fake = direct.cdist(X, X), direct.cdist(Y, Y)
    np.fill_diagonal(real, np.inf)
    np.fill_diagonal(fake, np.inf)
    real_radius, fake_radius = np.sort(real)[:, 2], np.sort(fake)[:, 2]
    between = direct.cdist(X, Y)
    found = manifold.compare(X, Y, k=3)
    np.testing.assert_array_equal(found.balls_of_fake, (between <= real_radius[:, None]).sum(0))
    np.testing.assert_array_equal(found.recalled, (between <= fake_radius[None]).any(1))
    np.testing.assert_array_equal(found.covered, between.min(1) <= real_radius)


def test_manifold_of_equal_and_of_distant_sets():
    assert manifold.compare(X, X).scores()["coverage"] == 1.0
    far = manifold.compare(X, X + 100.0).scores()
    assert far == {"precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0}
    with pytest.raises(ValueError, match="3 neighbours need more points"):
        manifold.compare(X, X[:3])


@pytest.mark.parametrize("unbiased", [False, True])
def test_energy_distance_in_blocks(small_blocks, unbiased):
    n, m, less = len(X), len(Y), int(unbiased)
    expected = (
        2 * direct.cdist(X, Y).mean()
        - direct.cdist(X, X).sum() / (n * (n - less))
        - direct.cdist(Y, Y).sum() / (m * (m - less))
    )
    found = energy.energy_distance(X, Y, unbiased)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_energy_distance_of_a_set_to_itself_is_zero():
    assert abs(energy.energy_distance(X, X)) < 1e-5


def test_energy_distance_and_its_floor_are_of_equally_many_points():
    real = RNG.standard_normal((60, 3)).astype(np.float32)
    for fake in (real[:20] + 1.0, RNG.standard_normal((90, 3)).astype(np.float32)):
        n = min(len(fake), 30)
        rows = np.random.default_rng(4).permutation(60)
        drawn, others, fakes = real[rows[:n]], real[rows[n : 2 * n]], fake[:n]

        def expected(x, y):
            within = direct.cdist(x, x).mean() + direct.cdist(y, y).mean()
            return 2 * direct.cdist(x, y).mean() - within

        found = energy.with_floor(real, fake, seed=4)
        np.testing.assert_allclose(found, (expected(fakes, drawn), expected(others, drawn)), 1e-4)
        assert energy.with_floor(real, fake, seed=5) != found
    with pytest.raises(ValueError, match="5 samples and 1 real points"):
        energy.with_floor(real[:1], real[:5], 0)


def test_a_perfect_generator_is_at_the_floor_and_a_shifted_one_above():
    real, fake = RNG.standard_normal((2, 2000, 2)).astype(np.float32)
    perfect, floor = energy.with_floor(real, fake, 0)
    shifted, _ = energy.with_floor(real, fake + 0.5, 0)
    assert 0 < floor < 0.02 and perfect < 0.02 and shifted > 0.1


def test_kernel_distance_is_about_zero_for_one_distribution_and_grows_with_a_shift():
    a, b = RNG.standard_normal((2, 400, 16)).astype(np.float32)
    same, spread = kid.kernel_distance(a, b, seed=0, subsets=20, subset_size=200)
    assert abs(same) < 3 * spread
    shifts = [kid.kernel_distance(a, b + s, seed=0, subset_size=200)[0] for s in (0.2, 0.5, 1.0)]
    assert same < shifts[0] < shifts[1] < shifts[2]
    assert kid.kernel_distance(a, b, seed=0) == kid.kernel_distance(a, b, seed=0)
    with pytest.raises(ValueError, match="two vectors a set"):
        kid.kernel_distance(a, b[:1], seed=0)


def test_inception_score_of_certain_and_of_uniform_predictions():
    certain = np.tile(50.0 * np.eye(5), (20, 1))
    np.testing.assert_allclose(inception_score.inception_score(certain), (5.0, 0.0), atol=1e-6)
    uniform = np.zeros((100, 5))
    np.testing.assert_allclose(inception_score.inception_score(uniform), (1.0, 0.0), atol=1e-6)
    with pytest.raises(ValueError, match="cannot be split"):
        inception_score.inception_score(uniform[:9])


def test_memorization():
    assert memorization.memorization_distance(X, X[:10]) < 1e-6  # copies
    assert memorization.memorization_distance(X, -2.0 * X[:10]) < 1e-6  # of direction alone
    expected = np.mean((1 - np.abs(1 - direct.cdist(Y, X, "cosine"))).min(axis=1))
    zeros = np.zeros((3, 8), np.float32)
    found = memorization.memorization_distance(np.concatenate([X, zeros]), Y)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_mifid_punishes_only_what_is_near():
    assert memorization.mifid(20.0, 0.05) == pytest.approx(400.0)
    assert memorization.mifid(20.0, 0.3) == pytest.approx(20.0)
    assert memorization.mifid(20.0, 0.0) > 1e15

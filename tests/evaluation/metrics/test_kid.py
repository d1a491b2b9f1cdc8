from fractions import Fraction

import numpy as np
import pytest

from drifting.evaluation.metrics import kid


def exact(x, y):
    """The unbiased estimate in rational numbers, without any rounding."""

    def kernel(a, b):
        dot = sum(Fraction(float(p)) * Fraction(float(q)) for p, q in zip(a, b, strict=True))
        return (dot / len(a) + 1) ** 3

    def within(z):
        n = len(z)
        return sum(kernel(z[i], z[j]) for i in range(n) for j in range(n) if i != j) / (n * n - n)

    between = sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))
    return float(within(x) + within(y) - 2 * between)


def test_kernel_distance_is_about_zero_for_one_distribution_and_grows_with_a_shift():
    a, b = np.random.default_rng(0).standard_normal((2, 400, 16)).astype(np.float32)
    same, spread = kid.kernel_distance(a, b, seed=0, subsets=20, subset_size=200)
    assert abs(same) < 3 * spread
    shifts = [kid.kernel_distance(a, b + s, seed=0, subset_size=200)[0] for s in (0.2, 0.5, 1.0)]
    assert same < shifts[0] < shifts[1] < shifts[2]
    assert kid.kernel_distance(a, b, seed=0) == kid.kernel_distance(a, b, seed=0)
    with pytest.raises(ValueError, match="two vectors per set"):
        kid.kernel_distance(a, b[:1], seed=0)


def test_features_far_from_zero_keep_their_sign():
    generator = np.random.default_rng(0)
    x = (generator.standard_normal((12, 4)) * 0.1 + 100).astype(np.float32)
    y = (generator.standard_normal((9, 4)) * 0.1 + 100).astype(np.float32)
    for fake in (y, y + np.float32(0.05), x[:9]):
        expected = exact(x, fake)
        assert kid.squared_mmd(x, fake) == pytest.approx(expected, rel=1e-3)
    assert exact(x, x[:9]) < 0 < exact(x, y + np.float32(0.05))


def test_features_in_blocks_of_columns(monkeypatch):
    x, y = np.random.default_rng(0).standard_normal((2, 20, 10)).astype(np.float32)
    whole = kid.squared_mmd(x, y)
    monkeypatch.setattr(kid, "_COLUMNS", 3)
    assert kid.squared_mmd(x, y) == pytest.approx(whole, rel=1e-12)


def test_subsets_that_are_whole_sets_have_no_deviation():
    a, b = np.random.default_rng(0).standard_normal((2, 60, 4)).astype(np.float32)
    assert kid.kernel_distance(a, b, seed=0) == (kid.squared_mmd(a, b), None)
    assert kid.kernel_distance(a, b, seed=0, subset_size=60) == (kid.squared_mmd(a, b), None)
    mean, deviation = kid.kernel_distance(a, b[:40], seed=0, subsets=5)
    assert deviation is None and mean != kid.squared_mmd(a, b[:40])
    _, deviation = kid.kernel_distance(a, b, seed=0, subset_size=59)
    assert deviation > 0
    assert kid.METRIC.words({"kid": 0.25, "kid_std": None}) == "kid 0.25"
    assert kid.METRIC.words({"kid": 0.25, "kid_std": 0.031}) == "kid 0.25 +- 0.031"

"""The energy distance where the answer is known, and blockwise against the direct formula."""

import numpy as np
import pytest
import scipy.spatial.distance as direct

from drifting.evaluation import pairwise
from drifting.evaluation.metrics import energy

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 8)).astype(np.float32)
Y = (RNG.standard_normal((45, 8)) + 0.5).astype(np.float32)


@pytest.mark.parametrize("unbiased", [False, True])
def test_energy_distance_in_blocks(monkeypatch, unbiased):
    monkeypatch.setattr(pairwise, "BLOCK_PAIRS", 7 * 45)  # the last block is not full
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
    draw = np.random.default_rng(1).standard_normal
    real = draw((60, 3)).astype(np.float32)
    for fake in (real[:20] + 1.0, draw((90, 3)).astype(np.float32)):
        n = min(len(fake), 30)
        generator = np.random.default_rng(4)
        rows = generator.permutation(60)
        drawn, others = real[rows[:n]], real[rows[n : 2 * n]]
        fakes = fake[generator.permutation(len(fake))[:n]]

        def expected(x, y):
            within = direct.cdist(x, x).mean() + direct.cdist(y, y).mean()
            return 2 * direct.cdist(x, y).mean() - within

        found = energy.with_floor(real, fake, seed=4)
        np.testing.assert_allclose(found, (expected(fakes, drawn), expected(others, drawn)), 1e-4)
        assert energy.with_floor(real, fake, seed=5) != found
    with pytest.raises(ValueError, match="1 sample and 2 real points, got 5 and 1"):
        energy.with_floor(real[:1], real[:5], 0)


def test_a_perfect_generator_is_at_the_floor_and_a_shifted_one_above():
    real, fake = np.random.default_rng(2).standard_normal((2, 2000, 2)).astype(np.float32)
    perfect, floor = energy.with_floor(real, fake, 0)
    shifted, _ = energy.with_floor(real, fake + 0.5, 0)
    assert 0 < floor < 0.02 and perfect < 0.02 and shifted > 0.1

"""A random order of rows that is one for the set, in whatever order the rows come."""

import numpy as np
import pytest

from drifting.evaluation import ordering

RNG = np.random.default_rng(0)
ROWS = {
    "images": RNG.integers(0, 256, (50, 3, 3, 1), np.uint8),
    "logits": RNG.standard_normal((50, 4)).astype(np.float32),
    "doubles": RNG.standard_normal((50, 2)),
    "equal beginnings": np.eye(50, dtype=np.float32),
}


@pytest.mark.parametrize("name", ROWS)
def test_the_order_does_not_depend_on_the_given_one(name):
    rows = ROWS[name]
    found = rows[ordering.shuffled(rows, seed=0)]
    for given in (rows[::-1], rows[RNG.permutation(50)]):
        np.testing.assert_array_equal(given[ordering.shuffled(given, seed=0)], found)
    assert not np.array_equal(rows[ordering.shuffled(rows, seed=1)], found)
    order = ordering.shuffled(rows, seed=0)
    np.testing.assert_array_equal(np.sort(order), np.arange(50))


def test_sorted_rows_are_mixed():
    """The mean of the first half of sorted numbers is that of all numbers, within its error."""
    rows = np.arange(1000, dtype=np.float32)[:, None]
    half = rows[ordering.shuffled(rows, seed=0)][:500]
    assert abs(half.mean() - 499.5) < 3 * 289 / np.sqrt(500)


def test_rounding_moves_few_rows():
    rows = RNG.standard_normal((1000, 3)).astype(np.float32)
    near = rows * np.float32(1 + 1e-7)
    moved = ordering.shuffled(rows, seed=0) != ordering.shuffled(near, seed=0)
    assert moved.mean() < 0.01

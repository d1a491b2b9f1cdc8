import numpy as np
import pytest

from drifting.evaluation.metrics import kid


def test_kernel_distance_is_about_zero_for_one_distribution_and_grows_with_a_shift():
    a, b = np.random.default_rng(0).standard_normal((2, 400, 16)).astype(np.float32)
    same, spread = kid.kernel_distance(a, b, seed=0, subsets=20, subset_size=200)
    assert abs(same) < 3 * spread
    shifts = [kid.kernel_distance(a, b + s, seed=0, subset_size=200)[0] for s in (0.2, 0.5, 1.0)]
    assert same < shifts[0] < shifts[1] < shifts[2]
    assert kid.kernel_distance(a, b, seed=0) == kid.kernel_distance(a, b, seed=0)
    with pytest.raises(ValueError, match="two vectors per set"):
        kid.kernel_distance(a, b[:1], seed=0)

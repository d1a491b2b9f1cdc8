"""The permutation without sorting: bijective, different for each key, and unbiased."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import shuffle


@functools.partial(jax.jit, static_argnums=1)
def whole(key, size):
    """The permutation of all of 0..size-1."""
    keys = jnp.broadcast_to(shuffle.round_keys(key)[None], (size, shuffle.ROUNDS))
    return shuffle.permuted(keys, jnp.arange(size), size)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 16, 17, 1000, 4096, 4097, 45_000])
def test_every_value_is_hit_once(size):
    permutations = [np.asarray(whole(jax.random.key(seed), size)) for seed in range(3)]
    for permutation in permutations:
        assert permutation.dtype == np.int32
        np.testing.assert_array_equal(np.sort(permutation), np.arange(size))
    if size >= 16:
        assert not np.array_equal(permutations[0], permutations[1])
        assert np.mean(permutations[0] == np.arange(size)) < 0.5


def test_first_pairs_are_equally_likely_over_keys():
    size, keys = 7, 8000
    permutations = jax.vmap(lambda k: whole(k, size))(jax.random.split(jax.random.key(0), keys))
    first, second = np.asarray(permutations)[:, :2].T
    counts = np.bincount(first * size + second, minlength=size * size).reshape(size, size)
    assert np.all(np.diag(counts) == 0)
    expected = keys / (size * (size - 1))
    pairs = counts[~np.eye(size, dtype=bool)]
    assert np.sum((pairs - expected) ** 2) / expected < 74.7  # 41 degrees of freedom, p = 0.001


@pytest.mark.parametrize("size", [2, 5, 20])
def test_the_first_place_is_uniform_over_keys(size):
    keys = jax.vmap(shuffle.round_keys)(jax.random.split(jax.random.key(1), 20_000))
    first = shuffle.permuted(keys, jnp.zeros(20_000, jnp.int32), size)
    counts = np.bincount(first, minlength=size)
    chi_square = np.sum((counts - 20_000 / size) ** 2) / (20_000 / size)
    assert chi_square < {2: 10.8, 5: 18.5, 20: 43.8}[size]  # p = 0.001


def test_neighbours_do_not_stay_neighbours():
    permutation = np.asarray(whole(jax.random.key(2), 45_000)).astype(np.int64)
    # In a random order, a share of 20/45,000 of the differences is within ten.
    assert np.mean(np.abs(np.diff(permutation)) <= 10) < 0.002
    ranks = np.corrcoef(np.arange(45_000), permutation)[0, 1]
    assert abs(ranks) < 0.02  # four standard deviations


@pytest.mark.parametrize("size", [0, -3, 2**31])
def test_sizes_out_of_range_are_refused(size):
    keys = jnp.zeros((1, shuffle.ROUNDS), jnp.uint32)
    with pytest.raises(ValueError, match=f"can permute 1 to .* not {size}"):
        shuffle.permuted(keys, jnp.zeros(1, jnp.int32), size)

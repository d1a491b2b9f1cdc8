"""Places, samples and the loss of patches, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.losses import patchnce


def test_places_are_distinct_and_at_most_all():
    found = patchnce.places(jax.random.key(0), 5, 7, 20)
    assert found.dtype == jnp.int32 and found.shape == (20,)
    assert len(set(found.tolist())) == 20 and set(found.tolist()) <= set(range(35))
    assert sorted(patchnce.places(jax.random.key(1), 3, 2, 256).tolist()) == list(range(6))
    other = patchnce.places(jax.random.key(1), 5, 7, 20)
    assert not np.array_equal(found, other)


def test_a_place_is_a_row_and_a_column():
    maps = jnp.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    found = patchnce.gather(maps, jnp.array([0, 6, 11]))
    np.testing.assert_array_equal(found, np.asarray(maps)[:, [0, 1, 2], [0, 2, 3]])


def test_normalized_features():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(patchnce.normalize(x), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(patchnce.normalize(x, 5.0)[0], [0.3, 0.4], rtol=1e-6)
    slope = jax.grad(lambda x: jnp.sum(patchnce.normalize(x, 1e-6)))(x)
    assert np.isfinite(slope).all()
    assert patchnce.normalize(x.astype(jnp.bfloat16)).dtype == jnp.float32


def by_hand(queries, keys, temperature, clamp=np.inf):
    """Cross entropy of [own key, other keys, own negative at -10], written with loops."""
    losses = np.zeros(queries.shape[:2])
    for b, i in np.ndindex(*losses.shape):
        s = np.clip(keys[b] @ queries[b, i] / temperature, -clamp, clamp)
        others = [s[j] for j in range(len(s)) if j != i]
        row = np.array([s[i], *others, -10.0 / temperature])
        losses[b, i] = np.log(np.sum(np.exp(row))) - row[0]
    return losses


@pytest.mark.parametrize("temperature,clamp", [(0.07, None), (4.0, None), (0.07, 3.0)])
def test_the_loss_by_hand(temperature, clamp):
    q, k = (patchnce.normalize(jax.random.normal(jax.random.key(i), (2, 6, 5))) for i in range(2))
    found = patchnce.patchnce(q, k, temperature=temperature, clamp=clamp)
    expected = by_hand(*map(np.asarray, (q, k)), temperature, clamp or np.inf)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    whole = patchnce.patchnce(q, k, temperature=temperature, clamp=clamp, across_batch=True)
    one = by_hand(*(np.asarray(x).reshape(1, 12, 5) for x in (q, k)), temperature, clamp or np.inf)
    np.testing.assert_allclose(whole, one.reshape(2, 6), rtol=1e-5, atol=1e-6)


def test_keys_have_no_gradient():
    q, k = (jax.random.normal(jax.random.key(i), (1, 4, 3)) for i in range(2))
    slopes = jax.grad(lambda q, k: jnp.sum(patchnce.patchnce(q, k)), argnums=(0, 1))(q, k)
    assert np.abs(slopes[0]).max() > 0.0
    np.testing.assert_array_equal(slopes[1], 0.0)

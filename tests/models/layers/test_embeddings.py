"""What a network is told, as vectors; goldens have the numbers of whole networks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from models.conditions import STYLE_CODES, STYLE_TOKENS
from models.layers import embeddings


def test_features_of_a_time_span_all_frequencies():
    features = embeddings.sinusoidal(jnp.asarray([0.0, 0.5]), 6)
    np.testing.assert_allclose(features[0], [0, 0, 0, 1, 1, 1], atol=1e-7)
    angles = 0.5 * np.array([1.0, 0.01, 0.0001])
    expected = np.concatenate([np.sin(angles), np.cos(angles)])
    np.testing.assert_allclose(features[1], expected, rtol=1e-5)


def test_one_embedding_serves_both_ends_of_the_interval():
    embedding = embeddings.PairEmbedding(8, 8, 0, True, nn.initializers.normal(1.0))
    t = jnp.linspace(0.3, 0.9, 3)
    h = t / 3
    swapped, params = embedding.init_with_output(jax.random.key(0), t - h, -h, None)
    np.testing.assert_allclose(embedding.apply(params, t, h, None), swapped, rtol=1e-4, atol=1e-5)


def test_a_style_is_the_sum_of_its_rows():
    class Row(nn.Module):
        @nn.compact
        def __call__(self, style):
            return embeddings.style_row(style, 8, jnp.float32)

    style = jax.random.randint(jax.random.key(0), (2, STYLE_TOKENS), 0, STYLE_CODES)
    row, variables = Row().init_with_output(jax.random.key(1), style)
    codebook = np.asarray(variables["params"]["style"]["embedding"])
    np.testing.assert_allclose(row, codebook[np.asarray(style)].sum(axis=1), atol=1e-5)


def test_time_planes_are_the_two_ends_of_the_interval():
    z, t, h = jnp.ones((2, 4, 4, 3)), jnp.array([0.5, 1.0]), jnp.array([0.25, 1.0])
    planes = embeddings.with_time_planes(z, t, h)
    assert planes.shape == (2, 4, 4, 5)
    np.testing.assert_array_equal(planes[0, 1, 2], [1, 1, 1, 0.25, 0.5])

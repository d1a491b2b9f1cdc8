"""Energy distances of batched sets against evaluation's and against the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.evaluation.metrics import energy
from drifting.fields import objectives


def sets(c=3, n=5, p=7, m=4, d=6):
    keys = jax.random.split(jax.random.key(0), 3)
    return [jax.random.normal(k, (c, size, d)) for k, size in zip(keys, (n, p, m), strict=True)]


@pytest.mark.parametrize("d", [2, 70])
def test_it_is_the_unbiased_energy_distance(d):
    x, y, _ = sets(d=d)
    ours = objectives.energy_distance(x, y)
    expected = [energy.energy_distance(np.asarray(a), np.asarray(b), unbiased=True)
                for a, b in zip(x, y, strict=True)]  # fmt: skip
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_guidance_is_the_energy_distance_to_a_signed_mixture():
    """By the definition: the target gives weight s to y and 1 - s to the unconditional points."""
    x, y, unconditional = sets()
    scale = jnp.asarray([1.0, 1.5, 3.0])
    ours = objectives.guided_energy_distance(x, y, unconditional, scale)

    def mean(a, b):
        distance = np.linalg.norm(a[:, None] - b[None], axis=-1)
        return distance.sum() / (len(a) * (len(a) - 1)) if a is b else distance.mean()

    x, y, unconditional = ([np.float64(z) for z in points] for points in (x, y, unconditional))
    for i, s in enumerate(np.asarray(scale)):
        parts = [(y[i], s), (unconditional[i], 1.0 - s)]
        crossed = sum(w * mean(x[i], points) for points, w in parts)
        within = sum(v * w * mean(a, b) for a, v in parts for b, w in parts)
        np.testing.assert_allclose(ours[i], 2 * crossed - mean(x[i], x[i]) - within, rtol=1e-4)
    plain = objectives.energy_distance(jnp.float32(x[0])[None], jnp.float32(y[0])[None])
    np.testing.assert_allclose(ours[:1], plain, rtol=1e-5)


@pytest.mark.parametrize("d", [2, 70])
def test_gradients_are_finite_where_points_coincide(d):
    x, y, _ = sets(d=d)
    same = jnp.broadcast_to(x[:, :1], x.shape)
    for a, b in ((same, y), (x, x), (same, same)):
        gradient = jax.grad(lambda a, b: jnp.sum(objectives.energy_distance(a, b)))(a, b)
        assert jnp.all(jnp.isfinite(gradient))


def test_it_falls_as_a_set_approaches_its_target():
    x, y, _ = sets(n=60, p=60)
    distances = [float(objectives.energy_distance(x + shift, y)[0]) for shift in (4.0, 2.0, 0.0)]
    assert distances[0] > distances[1] > distances[2]
    assert abs(distances[2]) < 0.2

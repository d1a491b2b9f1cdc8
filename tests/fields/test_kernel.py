"""Properties of the kernel field that hold for any sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.fields import kernel

TEMPERATURES = (0.05, 0.2)


def sets(c=3, n=7, p=11, m=5, d=6, seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    return [jax.random.normal(k, (c, size, d)) for k, size in zip(keys, (n, p, m), strict=True)]


def naive_drift(x, positives, negatives, temperature, masked):
    """V of one group [N, D] by the definition, in float64."""
    y = np.concatenate([np.float64(negatives), np.float64(positives)])
    d = np.linalg.norm(np.float64(x)[:, None] - y[None], axis=-1)
    if masked:
        d[np.arange(len(x)), np.arange(len(x))] += 1e6
    logits = -d / temperature
    rows = np.exp(logits - logits.max(1, keepdims=True))
    columns = np.exp(logits - logits.max(0, keepdims=True))
    a = np.sqrt(rows / rows.sum(1, keepdims=True) * columns / columns.sum(0, keepdims=True))
    m = len(negatives)
    plus = a[:, m:] * a[:, :m].sum(1, keepdims=True)
    minus = a[:, :m] * a[:, m:].sum(1, keepdims=True)
    return plus @ y[m:] - minus @ y[:m]


@pytest.mark.parametrize("shape", [dict(), dict(n=1), dict(p=1), dict(m=1), dict(d=1), dict(d=70)])
def test_batched_equals_the_definition(shape):
    x, positives, negatives = sets(**shape)
    v = kernel.drift(x, positives, negatives, TEMPERATURES, False)
    for t, temperature in enumerate(TEMPERATURES):
        for c in range(len(x)):
            expected = naive_drift(x[c], positives[c], negatives[c], temperature, False)
            np.testing.assert_allclose(v[t, c], expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("d", [3, kernel.DIRECT_DIMENSIONS, kernel.DIRECT_DIMENSIONS + 1, 300])
def test_distances_of_few_and_many_dimensions(d):
    x, y, _ = sets(d=d)
    x = x + 50.0  # a common offset must not cost the distances their digits
    expected = np.linalg.norm(np.float64(x)[:, :, None] - np.float64(y + 50.0)[:, None], axis=-1)
    np.testing.assert_allclose(kernel.distances(x, y + 50.0), expected, rtol=1e-5)


@pytest.mark.parametrize("form", ["sphere", "distance"])
def test_order_within_the_sets_does_not_matter(form):
    x, positives, _ = sets()
    target = kernel.sphere_target if form == "sphere" else kernel.distance_target
    order = jax.random.permutation(jax.random.key(1), positives.shape[1])
    before = target(x, positives, temperatures=TEMPERATURES)
    after = target(x, positives[:, order], temperatures=TEMPERATURES)
    np.testing.assert_allclose(before.goal, after.goal, atol=1e-4)
    turned = jax.random.permutation(jax.random.key(2), x.shape[1])
    moved = target(x[:, turned], positives, temperatures=TEMPERATURES)
    np.testing.assert_allclose(before.goal[:, turned], moved.goal, atol=1e-4)


def test_no_drift_between_equal_sets():
    """Attraction and repulsion of one and the same set cancel: the field's fixed point."""
    x, y, _ = sets()
    v = kernel.drift(x, y, y, TEMPERATURES, False)
    assert jnp.abs(v).max() < 1e-6


def test_swapping_attraction_and_repulsion_turns_the_field_around():
    x, positives, negatives = sets()
    v = kernel.drift(x, positives, negatives, TEMPERATURES, False)
    turned = kernel.drift(x, negatives, positives, TEMPERATURES, False)
    np.testing.assert_allclose(v, -turned, atol=1e-6)


def test_a_single_sample_that_is_its_own_negative_does_not_move():
    x, positives, _ = sets(n=1)
    target = kernel.sphere_target(x, positives, TEMPERATURES)
    np.testing.assert_allclose(target.goal, x, atol=1e-6)


def test_self_pairs_keep_an_affinity_unless_dropped():
    """The released clip leaves 1e-3 on a masked pair; `drop_self_pairs` removes exactly that."""
    scaled = kernel._add_to_diagonal(jnp.ones((1, 4, 9)), kernel.SELF_DISTANCE_SCALED)
    kept = kernel._clipped_affinities(scaled, TEMPERATURES, False)
    dropped = kernel._clipped_affinities(scaled, TEMPERATURES, True)
    eye = np.eye(4, 9, dtype=bool)
    np.testing.assert_allclose(kept[:, 0, eye], kernel.MIN_AFFINITY)
    assert np.all(dropped[:, 0, eye] == 0)
    np.testing.assert_array_equal(kept[:, 0, ~eye], dropped[:, 0, ~eye])
    x, positives, _ = sets()
    goals = [kernel.distance_target(x, positives, drop_self_pairs=d).goal for d in (False, True)]
    assert jnp.abs(goals[0] - goals[1]).max() > 1e-4


def test_guidance_weights_follow_the_formula():
    weight = kernel.guidance_weight(jnp.asarray([1.0, 2.0, 3.0]), 32, 16)
    np.testing.assert_allclose(weight, [0.0, 31 / 16, 62 / 16])


def test_weight_zero_is_absence():
    x, positives, negatives = sets()
    zero = jnp.zeros(negatives.shape[:2])
    shift = kernel.distance_target(x, positives, negatives, negative_weight=zero)
    # The mean weight and the softmax still count them, so compare two sets of the same size.
    other = kernel.distance_target(x, positives, negatives * 1.0, negative_weight=zero)
    np.testing.assert_array_equal(shift.goal, other.goal)
    pushed = kernel.distance_target(x, positives, negatives, negative_weight=zero + 5.0)
    assert jnp.abs(pushed.goal - shift.goal).max() > 1e-2


def test_force_has_unit_rms_at_each_temperature():
    x, positives, _ = sets()
    for form in (kernel.sphere_target, kernel.distance_target):
        target = form(x, positives, temperatures=(0.2, 0.2))
        force = target.goal - x / target.scale
        rms = jnp.sqrt(jnp.mean(jnp.square(force)))
        np.testing.assert_allclose(rms, 2.0, rtol=1e-3)  # two equal temperatures, summed


@pytest.mark.parametrize("form", ["sphere", "distance"])
def test_float32_inside_and_no_gradient_through_the_target(form):
    x, positives, _ = sets()
    target = kernel.sphere_target if form == "sphere" else kernel.distance_target
    low = target(x.astype(jnp.bfloat16), positives.astype(jnp.bfloat16), temperatures=(0.2,))
    assert low.goal.dtype == jnp.float32

    def through(x):
        t = target(x, positives, temperatures=(0.2,))
        return jnp.sum(t.goal) + jnp.sum(t.scale)

    assert jnp.all(jax.grad(through)(x) == 0)


@pytest.mark.parametrize("form", ["sphere", "distance"])
def test_degenerate_sets_stay_finite(form):
    x, positives, _ = sets()
    target = kernel.sphere_target if form == "sphere" else kernel.distance_target
    same = jnp.broadcast_to(x[:, :1], x.shape)
    for generated, real in ((same, positives), (x, same), (same, same), (x * 0, positives)):
        goal = target(generated, real, temperatures=(0.02, 0.2)).goal
        assert jnp.all(jnp.isfinite(goal))


def test_no_tensor_of_pairs_times_features():
    """Nothing of the size N x M x D is made, in either form."""
    n, p, d = 64, 64, 256
    x, positives, _ = (jax.ShapeDtypeStruct((2, k, d), jnp.float32) for k in (n, p, 1))
    for form in (kernel.sphere_target, kernel.distance_target):
        jaxpr = jax.make_jaxpr(lambda x, y, f=form: f(x, y, temperatures=TEMPERATURES)[0])(
            x, positives
        )
        largest = max(v.aval.size for e in jaxpr.jaxpr.eqns for v in e.outvars)
        assert largest < n * p * d

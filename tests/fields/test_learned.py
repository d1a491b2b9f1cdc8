"""Properties of the learned field, and its equality with the definition written out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import script_modules

from drifting.fields import learned

naive = script_modules.load("naive_learned_field")

# Values of a point and of a representation (0: the points are their own). Distances of few are
# computed in another way than those of many.
CASES = [
    (2, 0, "absent"),
    (40, 0, "masked"),
    (2, 6, "masked"),
    (2, 40, "kept"),
]

field = jax.jit(learned.drift, static_argnames="self_pairs")  # compiled once for equal shapes


def make_params(d=2, projection=0):
    """Parameters whose softmax is far from flat."""
    params = learned.init(jax.random.key(0), d, 12, projection, score_hidden=9)
    params["score"]["out"] *= 10.0
    return params


def normal(seed, n, d=2):
    """From NumPy: a draw inside a compiled function would be most of its program."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal((2, n, d), np.float32))


def make_sets(x, self_pairs):
    """Weighted negatives that begin with x where they should."""
    others = normal(2, 9, x.shape[-1])
    negatives = others if self_pairs == "absent" else jnp.concatenate([x, others], axis=1)
    weight = np.random.default_rng(3).random(negatives.shape[:2], np.float32)
    weight[:, 1::4] = 0.0
    return learned.Sets(x, normal(1, 9, x.shape[-1]), negatives, weight)


@pytest.fixture
def small_blocks(monkeypatch):
    """small_blocks(sets): two rows of x are in memory at a time."""

    def patch(sets, score_hidden=9):
        block = 2 * score_hidden * sets.negatives.shape[0] * sets.negatives.shape[1]
        monkeypatch.setitem(learned.BLOCK_SIZE, "cpu", block)
        monkeypatch.setattr(learned, "BLOCK_SIZE_ELSEWHERE", block)

    return patch


def value_and_gradients(drift, params, x, self_pairs):
    """V and the gradients of its product with fixed numbers, to the parameters and to x."""

    def product(params, x):
        v = drift(params, make_sets(x, self_pairs), self_pairs)
        return jnp.sum(v * normal(4, *v.shape[1:])), v

    gradients, v = jax.grad(product, argnums=(0, 1), has_aux=True)(params, x)
    return v, gradients


def both_forms(params, x, self_pairs):
    """One program of both: most of a test's time is compilation."""

    @jax.jit
    def run(params, x):
        forms = (learned.drift, naive.drift)
        return [value_and_gradients(form, params, x, self_pairs) for form in forms]

    return run(params, x)


def assert_close(ours, theirs):
    """To 1e-5 of the largest entry."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(theirs))
    assert largest > 1e-2  # something to compare
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * largest)


def assert_forms_agree(d, projection, self_pairs):
    x = normal(0, 7, d)
    ours, theirs = both_forms(make_params(d, projection), x, self_pairs)
    (v, (of_params, of_x)), (naive_v, (naive_of_params, naive_of_x)) = ours, theirs
    assert_close(v, naive_v)
    assert_close(of_params, naive_of_params)
    assert_close(of_x, naive_of_x)


@pytest.mark.parametrize("d,projection,self_pairs", CASES)
def test_equals_the_definition_with_its_gradients(d, projection, self_pairs):
    assert_forms_agree(d, projection, self_pairs)


def test_blocks_of_rows_equal_the_definition(small_blocks):
    small_blocks(make_sets(normal(0, 7, 40), "kept"))  # seven rows, two at a time
    assert_forms_agree(40, 0, "kept")


def tensor_sizes(jaxpr):
    """Of every intermediate value, in loops and in recomputed parts as well."""
    for equation in jaxpr.eqns:
        yield from (v.aval.size for v in equation.outvars)
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
            if is_jaxpr(inner):
                yield from tensor_sizes(getattr(inner, "jaxpr", inner))


def is_jaxpr(value):
    return hasattr(value, "jaxpr") or hasattr(value, "eqns")


def largest_tensor(drift, n, d, score_hidden):
    """Of V and its gradients, two groups of n points each."""
    params = learned.init(jax.random.key(0), d, projection=0, score_hidden=score_hidden)

    def product(params, x):
        return jnp.sum(drift(params, learned.Sets(x, x + 1.0, x), "masked") ** 2)

    gradient = jax.grad(product, argnums=(0, 1))
    x = jax.ShapeDtypeStruct((2, n, d), jnp.float32)
    return max(tensor_sizes(jax.make_jaxpr(gradient)(params, x).jaxpr))


def test_no_tensor_of_pairs_times_representations():
    n, d, hidden = 32, 128, 16
    pairs = 2 * n * n
    assert largest_tensor(naive.drift, n, d, hidden) == pairs * (3 * d + 1)
    assert largest_tensor(learned.drift, n, d, hidden) == pairs * hidden


def test_no_tensor_of_pairs_times_hidden_units_in_blocks(small_blocks):
    n, d, hidden = 32, 16, 24
    x = jnp.zeros((2, n, d))
    small_blocks(learned.Sets(x, x, x), hidden)
    # Two rows of x at a time; beside them, representations, pairs and weights are small.
    assert largest_tensor(learned.drift, n, d, hidden) <= 2 * n * n * hidden / 8


def test_swapping_attraction_and_repulsion_turns_the_field_around():
    x, positives, negatives = normal(0, 7), normal(1, 9), normal(2, 9)
    v = field(make_params(), learned.Sets(x, positives, negatives), "absent")
    turned = field(make_params(), learned.Sets(x, negatives, positives), "absent")
    assert jnp.abs(v).max() > 1e-2
    np.testing.assert_array_equal(v, -turned)


def test_no_drift_between_equal_sets():
    x, y = normal(0, 7), normal(1, 9)
    assert jnp.all(field(make_params(), learned.Sets(x, y, y), "absent") == 0)


def test_order_within_the_sets_does_not_matter():
    x, positives, negatives, weight = make_sets(normal(0, 7), "absent")
    p, m = (np.random.default_rng(seed).permutation(9) for seed in (0, 1))
    turned = learned.Sets(x, positives[:, p], negatives[:, m], weight[:, m])
    sets = learned.Sets(x, positives, negatives, weight)
    assert_close(field(make_params(), turned, "absent"), field(make_params(), sets, "absent"))


@pytest.mark.parametrize("self_pairs", ["absent", "masked"])
def test_order_of_the_points_is_the_order_of_their_drifts(self_pairs):
    x, positives, others = normal(0, 7), normal(1, 9), normal(2, 9)
    turned = x[:, np.random.default_rng(0).permutation(7)]

    def drift(x):
        negatives = x if self_pairs == "masked" else others
        return field(make_params(), learned.Sets(x, positives, negatives), self_pairs)

    assert_close(drift(turned), drift(x)[:, np.random.default_rng(0).permutation(7)])


@functools.partial(jax.jit, static_argnames="self_pairs")
def drift_and_gradients(params, x, positives, self_pairs):
    def product(params, x, positives):
        v = learned.drift(params, learned.Sets(x, positives, x), self_pairs)
        return jnp.sum(v * jnp.arange(v.size).reshape(v.shape))

    return jax.value_and_grad(product, argnums=(0, 1, 2))(params, x, positives)


@pytest.mark.parametrize("d,self_pairs", [(2, "absent"), (40, "kept"), (40, "masked")])
def test_degenerate_sets_stay_finite_with_their_gradients(d, self_pairs):
    params, x = make_params(d), normal(0, 4, d)
    same = jnp.broadcast_to(x[:, :1], x.shape)
    one, other = x[:, :1], x[:, 1:2]
    sets = [(same, same), (same, x), (x, x), (0 * x, 0 * x), (one, one), (one, other)]
    for points, positives in sets:
        for leaf in jax.tree.leaves(drift_and_gradients(params, points, positives, self_pairs)):
            assert np.isfinite(leaf).all()


def test_a_lone_point_that_leaves_itself_out_has_nothing_to_attend_to():
    params, x, positives = make_params(projection=6), normal(0, 1), normal(1, 9)
    apply = jax.jit(learned.set_operator, static_argnames="self_pairs")
    assert jnp.all(apply(params, x, x, self_pairs="masked") == 0)
    v = field(params, learned.Sets(x, positives, x), "masked")
    assert_close(v, apply(params, x, positives))


def test_weight_two_is_a_member_twice_and_weight_zero_is_absence():
    x, positives, negatives, _ = make_sets(normal(0, 7), "absent")
    weight = jnp.ones((2, 9)).at[:, 0].set(2.0).at[:, 1].set(0.0)
    weighted = field(make_params(), learned.Sets(x, positives, negatives, weight), "absent")
    repeated = negatives.at[:, 1].set(negatives[:, 0])
    expected = field(make_params(), learned.Sets(x, positives, repeated), "absent")
    assert_close(weighted, expected)
    unweighted = field(make_params(), learned.Sets(x, positives, negatives), "absent")
    assert jnp.abs(weighted - unweighted).max() > 1e-3


def test_float32_inside():
    low = [normal(seed, n).astype(jnp.bfloat16) for seed, n in ((0, 7), (1, 9), (2, 9))]
    v = field(make_params(), learned.Sets(*low), "absent")
    assert v.dtype == jnp.float32
    exact = learned.Sets(*(points.astype(jnp.float32) for points in low))
    np.testing.assert_array_equal(v, field(make_params(), exact, "absent"))

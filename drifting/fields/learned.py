"""The learned drifting field: attention over point sets, with logits from a small network.

    V(x; P, Q) = S(x, P) - S(x, Q)
    S(x, P) = out(sum_{y in P} softmax_y(a(x, y)) (g(y) - g(x)))
    a(x, y) = MLP[g(x), g(y), g(y) - g(x), |g(y) - g(x)|]

after the set-attention field of jaysarva/drifting-model (learned_field.py): g is a network of
two layers or the identity, out a linear map back without a bias, the MLP has one hidden layer, both
with the exact GELU. V is antisymmetric in P and Q by construction, so it vanishes where they agree.
Unlike the kernel field it is differentiable, in its parameters and in every point.

The MLP's first layer is linear in its input, so it splits exactly into a product over x, one over y
and a rank-one term in the distance: O((N + M) R H + N M H) operations for representations of R
values and H hidden units instead of O(N M R H), and no [N, M, 3 R + 1] tensor. (The MLP's last bias
is left out: a softmax does not depend on it.)

Sets are [C, N, D]: C classes (or any groups), N points, D features. Float32 inside, unless the
input is float64.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from drifting.fields import kernel, pairs
from drifting.fields.pairs import HIGHEST, as_float

Params = dict[str, Any]

# What a set of negatives begins with: other points ("absent"); x itself, each point of which then
# attends to its own copy ("kept"); or x itself, with these pairs left out ("masked").
SELF_PAIRS = ("absent", "kept", "masked")

# Values, pairs times hidden units, that are in memory at once. On a CPU they stay in its cache.
BLOCK_SIZE = {"cpu": 2**18}
BLOCK_SIZE_ELSEWHERE = 2**26


class Sets(NamedTuple):
    """The point sets on which a field is evaluated or trained.

    Attributes:
      x: [C, N, D] points that drift.
      positives: [C, P, D].
      negatives: [C, M, D].
      negative_weight: [C, M], weights of the negatives in their softmax; None for ones. A weight of
        0 leaves a negative out.
    """

    x: jax.Array
    positives: jax.Array
    negatives: jax.Array
    negative_weight: jax.Array | None = None


def init(
    key: jax.Array,
    dimension: int,
    hidden: int = 256,
    projection: int = 256,
    score_hidden: int = 128,
) -> Params:
    """Initial parameters of a field on points of `dimension` values.

    Weights and biases are uniform within 1 / sqrt(inputs), as in PyTorch's linear layers.

    Args:
      hidden: units between g's two layers.
      projection: values of a representation; 0 uses the points themselves, without g and out.
      score_hidden: hidden units of the scoring MLP.
    """
    keys = jax.random.split(key, 5)
    size = projection or dimension
    first = _linear(keys[0], 3 * size + 1, score_hidden)
    params = {"score": {"hidden": first, "out": _linear(keys[1], score_hidden, 1)["kernel"][:, 0]}}
    if projection:
        params["represent"] = {
            "hidden": _linear(keys[2], dimension, hidden),
            "out": _linear(keys[3], hidden, projection),
        }
        params["back"] = _linear(keys[4], projection, dimension)["kernel"]
    return params


def _linear(key: jax.Array, inputs: int, outputs: int) -> Params:
    key_kernel, key_bias = jax.random.split(key)
    bound = inputs**-0.5
    return {
        "kernel": jax.random.uniform(key_kernel, (inputs, outputs), minval=-bound, maxval=bound),
        "bias": jax.random.uniform(key_bias, (outputs,), minval=-bound, maxval=bound),
    }


def drift(params: Params, sets: Sets, self_pairs: str) -> jax.Array:
    """V(x; positives, negatives): [C, N, D].

    Args:
      self_pairs: one of SELF_PAIRS, what the negatives begin with. An argument, not inferred from
        the sizes of the sets.
    """
    return drifts([params], [sets], self_pairs)[0]


def drifts(
    params: Sequence[Params], sets: Sequence[Sets], self_pairs: str
) -> tuple[jax.Array, ...]:
    """`drift` of several features, each with its own field and sets.

    Features whose representations have equal shapes are scored as one batch; those of projected
    fields have, whatever the dimension of the points.
    """
    inputs = [_represented(p, s) for p, s in zip(params, sets, strict=True)]
    alike: dict[Any, list[int]] = {}
    for i, given in enumerate(inputs):
        alike.setdefault(str(jax.tree.map(jnp.shape, given)), []).append(i)
    updates = {}
    for indices in alike.values():
        batch = jax.tree.map(lambda *x: jnp.stack(x), *(inputs[i] for i in indices))
        found = jax.vmap(functools.partial(_update, self_pairs=self_pairs))(*batch)
        updates |= dict(zip(indices, found, strict=True))
    return tuple(_back(p, updates[i]) for i, p in enumerate(params))


def _represented(params: Params, sets: Sets) -> tuple[Params, Sets]:
    """The scoring network's parameters, and the sets in the representation g."""
    points = (represent(params, as_float(x)) for x in sets[:3])
    return params["score"], Sets(*points, sets.negative_weight)


def _update(score: Params, sets: Sets, self_pairs: str) -> jax.Array:
    """V of representations [C, N, R], before the map back to points."""
    pull, pulled = attend(score, sets.x, sets.positives)
    push, pushed = attend(score, sets.x, sets.negatives, sets.negative_weight, self_pairs)
    # g(x) cancels wherever both sets have a member with a weight.
    return (pull - push) - (pulled - pushed) * sets.x


def set_operator(
    params: Params,
    x: jax.Array,
    points: jax.Array,
    weight: jax.Array | None = None,
    self_pairs: str = "absent",
) -> jax.Array:
    """S(x, points) of x [C, N, D] and points [C, M, D]: [C, N, D]; 0 for an empty set."""
    gx = represent(params, as_float(x))
    total, member = attend(
        params["score"], gx, represent(params, as_float(points)), weight, self_pairs
    )
    return _back(params, total - member * gx)


def represent(params: Params, x: jax.Array) -> jax.Array:
    """g: [C, N, D] to [C, N, R]."""
    if "represent" not in params:
        return x
    layers = params["represent"]
    return _apply(layers["out"], _gelu(_apply(layers["hidden"], x)))


def _back(params: Params, update: jax.Array) -> jax.Array:
    if "back" not in params:
        return update
    return jnp.matmul(update, params["back"], precision=HIGHEST)


def _apply(layer: Params, x: jax.Array) -> jax.Array:
    bias = layer["bias"].reshape((1,) * (x.ndim - 1) + (-1,))
    return jnp.matmul(x, layer["kernel"], precision=HIGHEST) + bias


def _gelu(x: jax.Array) -> jax.Array:
    """The exact GELU, x Phi(x)."""
    return x * _normal_cdf(x)


def _normal_cdf(x: jax.Array) -> jax.Array:
    return 0.5 * (1.0 + jax.lax.erf(x * 0.5**0.5))


def attend(
    score: Params,
    gx: jax.Array,
    gy: jax.Array,
    weight: jax.Array | None = None,
    self_pairs: str = "absent",
) -> tuple[jax.Array, jax.Array]:
    """sum_y softmax_y(a(x, y)) g(y) of representations [C, N, R] and [C, M, R].

    Args:
      weight: [C, M], how many times each member of the set counts in the softmax; None for ones.
      self_pairs: one of SELF_PAIRS.

    Returns:
      The sums [C, N, R], and [C, N, 1], which is 1 where x has any member to attend to; elsewhere
      it and the sum are 0.

    Raises:
      ValueError: self_pairs is unknown, or the set is too small to begin with x.
    """
    if self_pairs not in SELF_PAIRS:
        raise ValueError(f"unknown self_pairs {self_pairs!r}; use one of {', '.join(SELF_PAIRS)}")
    if self_pairs != "absent" and gy.shape[1] < gx.shape[1]:
        raise ValueError(
            f"self_pairs = {self_pairs!r}, but a set of {gy.shape[1]} points cannot begin with "
            f"the {gx.shape[1]} points of x"
        )
    if not gy.shape[1]:
        return jnp.zeros_like(gx), jnp.zeros_like(gx[..., :1])
    logits = _logits(score, gx, gy, pairs.distances(gx, gy, self_pairs != "absent"))
    if weight is None:
        weight = jnp.ones(gy.shape[:2], logits.dtype)
    weight = jnp.broadcast_to(weight[:, None, :], logits.shape)  # [C, N, M]
    if self_pairs == "masked":
        weight = jnp.where(pairs.own_pairs(logits), 0.0, weight)
    counts = weight > 0
    highest = jnp.max(logits, axis=-1, keepdims=True, where=counts, initial=-jnp.inf)
    member = jnp.any(counts, axis=-1, keepdims=True)
    highest = jax.lax.stop_gradient(jnp.where(member, highest, 0.0))
    share = weight * jnp.exp(jnp.where(counts, logits - highest, 0.0))
    total = jnp.sum(share, axis=-1, keepdims=True)
    share = share / jnp.where(member, total, 1.0)
    return kernel.weighted_sum(share, gy), member.astype(gx.dtype)


def _logits(score: Params, gx: jax.Array, gy: jax.Array, distance: jax.Array) -> jax.Array:
    """a(x, y) without its last bias: [C, N, M].

    With the first layer's kernel [W_x; W_y; W_d; w], its input [g(x), g(y), g(y) - g(x), |.|] gives
    (W_x - W_d) g(x) + (W_y + W_d) g(y) + w |g(y) - g(x)| + bias.
    """
    size = gx.shape[-1]
    weights, bias = score["hidden"]["kernel"], score["hidden"]["bias"]
    of_x, of_y, of_difference, of_distance = jnp.split(weights, [size, 2 * size, 3 * size])
    hidden_x = _apply({"kernel": of_x - of_difference, "bias": bias}, gx)
    hidden_y = jnp.matmul(gy, of_y + of_difference, precision=HIGHEST)
    return _score_pairs(hidden_x, hidden_y, distance, of_distance[0], score["out"])


def _score_pairs(
    hidden_x: jax.Array,
    hidden_y: jax.Array,
    distance: jax.Array,
    of_distance: jax.Array,
    out: jax.Array,
) -> jax.Array:
    """The MLP's second layer on all pairs: [C, N, H], [C, M, H] and [C, N, M] to [C, N, M].

    If there are many pairs, one block of x's rows is in memory at a time, also in the backward
    pass, which recomputes it.
    """
    groups, n, m = distance.shape
    block = BLOCK_SIZE.get(jax.default_backend(), BLOCK_SIZE_ELSEWHERE)
    row = hidden_y.size
    if row * n <= 2 * block:
        return _score_block(hidden_x, hidden_y, distance, of_distance, out)
    rows = max(1, block // row)
    blocks = [_in_blocks(x, rows) for x in (hidden_x, distance)]

    def score(block: tuple[jax.Array, jax.Array]) -> jax.Array:
        return _score_block(block[0], hidden_y, block[1], of_distance, out)

    logits = jax.lax.map(score, tuple(blocks))
    return jnp.moveaxis(logits, 0, 1).reshape(groups, -1, m)[:, :n]  # [C, N, M]


@jax.custom_vjp
def _score_block(
    hidden_x: jax.Array,
    hidden_y: jax.Array,
    distance: jax.Array,
    of_distance: jax.Array,
    out: jax.Array,
) -> jax.Array:
    hidden = _pair_hidden(hidden_x, hidden_y, distance, of_distance)
    return jnp.matmul(_gelu(hidden), out, precision=HIGHEST)


def _pair_hidden(
    hidden_x: jax.Array, hidden_y: jax.Array, distance: jax.Array, of_distance: jax.Array
) -> jax.Array:
    """[C, N, M, H]. Groups first: with x's rows first a step takes twice the time on a CPU."""
    of_pair = distance[..., None] * of_distance.reshape(1, 1, 1, -1)  # [C, N, M, H]
    return hidden_x[:, :, None] + hidden_y[:, None] + of_pair


def _score_forward(*inputs: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return _score_block(*inputs), inputs


def _score_backward(inputs: tuple[jax.Array, ...], upstream: jax.Array) -> tuple[jax.Array, ...]:
    """By hand, because XLA would recompute the pairs' tensor for each of its five sums.

    d gelu(h) / dh = Phi(h) + h phi(h), with the normal density phi.
    """
    *_, distance, of_distance, out = inputs
    hidden = _pair_hidden(*inputs[:4])
    cdf = _normal_cdf(hidden)
    density = jnp.exp(-0.5 * jnp.square(hidden)) * (2.0 * math.pi) ** -0.5
    slope = upstream[..., None] * out.reshape(1, 1, 1, -1) * (cdf + hidden * density)
    slope, activation = jax.lax.optimization_barrier((slope, hidden * cdf))  # [C, N, M, H]
    return (
        jnp.sum(slope, axis=2),
        jnp.sum(slope, axis=1),
        jnp.matmul(slope, of_distance, precision=HIGHEST),
        jnp.einsum("cnm,cnmh->h", distance, slope, precision=HIGHEST),
        jnp.einsum("cnm,cnmh->h", upstream, activation, precision=HIGHEST),
    )


_score_block.defvjp(_score_forward, _score_backward)


def _in_blocks(x: jax.Array, rows: int) -> jax.Array:
    """x [C, N, ...] as [blocks, C, rows, ...]; the last block is padded with zeros."""
    groups, n, *rest = x.shape
    x = jnp.pad(x, [(0, 0), (0, -n % rows)] + [(0, 0)] * len(rest))
    return jnp.moveaxis(x.reshape(groups, -1, rows, *rest), 1, 0)  # [blocks, C, rows, ...]

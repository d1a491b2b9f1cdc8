"""A literal implementation of the learned drifting field, for bench_field.py and the tests.

It takes the same parameters and sets as drifting/fields/learned.py, whose docstring has the
formulas, but builds the scoring MLP's whole input [C, N, M, 3 R + 1], which the other file avoids.
"""

import jax
import jax.numpy as jnp


def drift(params, sets, self_pairs):
    """V(x; positives, negatives) = S(x, positives) - S(x, negatives): [C, N, D]."""
    pull = set_operator(params, sets.x, sets.positives)
    return pull - set_operator(params, sets.x, sets.negatives, sets.negative_weight, self_pairs)


def set_operator(params, x, points, weight=None, self_pairs="absent"):
    """S(x, points) of x [C, N, D] and points [C, M, D]: [C, N, D]."""
    gx, gy = represent(params, x), represent(params, points)
    shape = (*gx.shape[:2], *gy.shape[1:])
    gx, gy = jnp.broadcast_to(gx[:, :, None], shape), jnp.broadcast_to(gy[:, None], shape)
    difference = gy - gx  # [C, N, M, R]
    pairs = jnp.concatenate([gx, gy, difference, norm(difference)], axis=-1)  # [C, N, M, 3 R + 1]
    hidden = jax.nn.gelu(apply(params["score"]["hidden"], pairs), approximate=False)
    logits = matmul(hidden, params["score"]["out"])
    attention = weighted_softmax(logits, pair_weights(weight, logits, self_pairs))
    update = jnp.sum(attention[..., None] * difference, axis=2)  # [C, N, R]
    return matmul(update, params["back"]) if "back" in params else update


def represent(params, x):
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if "represent" not in params:
        return x
    hidden = jax.nn.gelu(apply(params["represent"]["hidden"], x), approximate=False)
    return apply(params["represent"]["out"], hidden)


def norm(difference):
    """|d| of differences d [..., R]: [..., 1], with gradient 0 at d = 0."""
    squared = jnp.sum(jnp.square(difference), axis=-1, keepdims=True)
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)


def pair_weights(weight, logits, self_pairs):
    """The weight of each pair, [C, N, M]."""
    weight = jnp.ones_like(logits[:, 0]) if weight is None else weight
    weight = jnp.broadcast_to(weight[:, None], logits.shape)
    if self_pairs == "masked":
        weight = weight * (1.0 - jnp.eye(*logits.shape[1:], dtype=logits.dtype))[None]
    return weight


def weighted_softmax(logits, weight):
    """The softmax over the last axis with weights; 0 where all weights are 0."""
    counts = weight > 0
    logits = jnp.where(counts, logits + jnp.log(jnp.where(counts, weight, 1.0)), -1e30)
    return jnp.where(counts, jax.nn.softmax(logits, axis=-1), 0.0)


def apply(layer, x):
    return matmul(x, layer["kernel"]) + layer["bias"].reshape((1,) * (x.ndim - 1) + (-1,))


def matmul(x, weights):
    return jnp.matmul(x, weights, precision=jax.lax.Precision.HIGHEST)

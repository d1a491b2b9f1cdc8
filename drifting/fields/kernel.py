"""The kernel drifting field in two forms, and the regression targets that they give.

A generated set is pulled to real samples and pushed from its own: V(x) = attraction - repulsion,
with affinities that are the geometric mean of a softmax over the rows and one over the columns of
-distance / temperature (Deng et al., "Generative Modeling via Drifting", arXiv:2602.04770,
equations 8 to 11 and algorithm 2). A generator follows the field by regressing on
stopgrad(phi + V), so no gradient flows through anything in this file.

`sphere`: features are on the unit sphere, the negatives are the generated samples themselves, and
the V of each temperature is scaled to unit root mean square. Classes with sets of different sizes
need separate calls; a set is never padded.

`distance`: the form released by the paper's authors. Distances are divided by their weighted mean,
classifier-free guidance is a weight of real negatives, and the force of each temperature has unit
root mean square.

Sets are [C, N, D]: C classes (or any groups), N points, D features. Float32 inside, unless the
input is float64. No [N, M, D] tensor is made.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from drifting.fields import pairs
from drifting.fields.pairs import HIGHEST, as_float

SELF_DISTANCE = 1e6  # added to a sample's distance to itself to mask that pair (sphere)
SELF_DISTANCE_SCALED = 100.0  # the same for distances scaled to mean 1 (distance)
DIRECT_DIMENSIONS = 32  # up to here distances are exact for close points
MIN_AFFINITY = 1e-3  # the released form clips row x column softmax at 1e-6 before the root


class Target(NamedTuple):
    """The regression target of the generator, whose loss is mean((phi / scale - goal)^2).

    Attributes:
      goal: [C, N, D], phi / scale + V, without gradient.
      scale: broadcastable to [C, N, D], without gradient.
      metrics: scalars drift_norm, feature_dist_mean, feature_dist_var and the form's own.
    """

    goal: jax.Array
    scale: jax.Array
    metrics: dict[str, jax.Array]


def distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """Euclidean distances [C, N, M] of x [C, N, D] to y [C, M, D], without gradient."""
    x, y = jax.lax.stop_gradient(x), jax.lax.stop_gradient(y)
    return pairs.distances(x, y, direct_dimensions=DIRECT_DIMENSIONS)


def affinities(distance: jax.Array, temperatures: tuple[float, ...]) -> jax.Array:
    """sqrt(row softmax x column softmax) of -distance / temperature: [C, N, M] to [T, C, N, M].

    The minima are subtracted from the distances before the division: close distances subtract
    exactly, large logits would not.
    """
    temperature = jnp.asarray(temperatures, distance.dtype)[:, None, None, None]
    above_row = distance - jnp.min(distance, axis=-1, keepdims=True)
    above_column = distance - jnp.min(distance, axis=-2, keepdims=True)
    rows = jnp.sum(jnp.exp(-above_row[None] / temperature), axis=-1, keepdims=True)
    columns = jnp.sum(jnp.exp(-above_column[None] / temperature), axis=-2, keepdims=True)
    # sqrt(softmax_m(-d / T) softmax_n(-d / T))
    joint = jnp.exp(-0.5 * (above_row + above_column)[None] / temperature)  # [T, C, N, M]
    return joint * jax.lax.rsqrt(rows) * jax.lax.rsqrt(columns)


def cross_weights(affinity: jax.Array, split: int) -> jax.Array:
    """Each side's affinities [..., N, M] times the row sum of the other side.

    The first side ends at column `split`. Its weights are negative, so that their product with the
    points of both sides is attraction minus repulsion.
    """
    first, second = affinity[..., :split], affinity[..., split:]
    return jnp.concatenate(
        [
            -first * jnp.sum(second, axis=-1, keepdims=True),
            second * jnp.sum(first, axis=-1, keepdims=True),
        ],
        axis=-1,
    )


def distance_statistics(distance: jax.Array) -> dict[str, jax.Array]:
    """Mean and variance of the distances [C, N, M] before any mask, averaged over the groups."""
    return {
        "feature_dist_mean": jnp.mean(distance),
        "feature_dist_var": jnp.mean(jnp.var(distance, axis=(1, 2))),
    }


def _add_to_diagonal(distance: jax.Array, value: float) -> jax.Array:
    """Adds `value` to the pairs (i, i) of distance [C, N, M]."""
    eye = jnp.eye(*distance.shape[-2:], dtype=distance.dtype)
    return distance + value * eye[None]


# --- sphere: the form of jaysarva/drifting-model --------------------------------------------------


def unit_rms(drift: jax.Array) -> jax.Array:
    """V / sqrt(mean(V^2) + 1e-8), with the mean over points and features of each [..., N, D]."""
    mean = jnp.mean(jnp.square(drift), axis=(-2, -1), keepdims=True)
    return drift * jax.lax.rsqrt(mean + 1e-8)


def drift(
    x: jax.Array,
    positives: jax.Array,
    negatives: jax.Array,
    temperatures: tuple[float, ...],
    negatives_are_samples: bool,
) -> jax.Array:
    """V = W+ y+ - W- y- for each temperature: [T, C, N, D].

    Args:
      x: [C, N, D] samples.
      positives: [C, P, D].
      negatives: [C, M, D].
      negatives_are_samples: masks the pairs (i, i). An argument, not inferred from M == N.
    """
    weights, targets, _ = _weights(
        as_float(x), positives, negatives, temperatures, negatives_are_samples
    )
    return jnp.stack([weighted_sum(w, targets) for w in weights])  # [T, C, N, D]


def weighted_sum(weights: jax.Array, targets: jax.Array) -> jax.Array:
    """sum_m w[c, n, m] y[c, m]: [C, N, M] and [C, M, D] to [C, N, D].

    For one temperature at a time: not making a [T, C, N, D] tensor of all of them halves the time
    of the whole field on a CPU.
    """
    return jnp.einsum("cnm,cmd->cnd", weights, targets, precision=HIGHEST)  # [C, N, D]


def _weights(x, positives, negatives, temperatures, negatives_are_samples):
    """Weights [T, C, N, M + P] of [negatives, positives], these points, and their distances."""
    targets = jnp.concatenate([as_float(negatives), as_float(positives)], axis=1)  # [C, M + P, D]
    targets = jax.lax.stop_gradient(targets)
    raw = distances(x, targets)
    masked = _add_to_diagonal(raw, SELF_DISTANCE) if negatives_are_samples else raw
    return cross_weights(affinities(masked, temperatures), negatives.shape[1]), targets, raw


def l2_normalize(features: jax.Array) -> jax.Array:
    """Features [..., D] scaled to the unit sphere."""
    features = as_float(features)
    norm = jnp.sqrt(jnp.sum(jnp.square(features), axis=-1, keepdims=True))
    return features / jnp.maximum(norm, 1e-12)


def sphere_target(
    generated: jax.Array, positives: jax.Array, temperatures: tuple[float, ...]
) -> Target:
    """The target of jaysarva/drifting-model for unit vectors; the negatives are the samples.

    The V of a single temperature is used as it is; those of several are scaled to unit root mean
    square and summed.

    Args:
      generated: [C, N, D], unit vectors.
      positives: [C, P, D], unit vectors.
    """
    x = jax.lax.stop_gradient(as_float(generated))
    weights, targets, raw = _weights(x, positives, x, temperatures, True)
    drifts = (weighted_sum(w, targets) for w in weights)
    total = sum(map(unit_rms, drifts)) if len(temperatures) > 1 else next(drifts)
    norms = jnp.sqrt(jnp.mean(jnp.square(total), axis=(1, 2)))
    metrics = {"drift_norm": jnp.mean(norms), **distance_statistics(raw)}
    return Target(x + total, jnp.ones((1, 1, 1), x.dtype), metrics)


# --- distance: the released form -----------------------------------------------------------------


def guidance_weight(cfg_scale: jax.Array, num_generated: int, num_unconditional: int) -> jax.Array:
    """Weight of each unconditional negative: (cfg - 1)(G - 1) / n_uncond, [C] to [C].

    With it the repelling set is the mixture of the samples (G - 1 others, weight 1 each) and the
    unconditional data that the paper's section on guidance asks for.
    """
    return (cfg_scale - 1.0) * (num_generated - 1) / num_unconditional


def distance_target(
    generated: jax.Array,
    positives: jax.Array,
    negatives: jax.Array | None = None,
    generated_weight: jax.Array | None = None,
    positive_weight: jax.Array | None = None,
    negative_weight: jax.Array | None = None,
    temperatures: tuple[float, ...] = (0.02, 0.05, 0.2),
    scale_per_label: bool = False,
    drop_self_pairs: bool = False,
) -> Target:
    """The target of the released form.

    Args:
      generated: [C, G, D].
      positives: [C, P, D].
      negatives: [C, M, D] real samples of any class, or None.
      generated_weight, positive_weight, negative_weight: [C, G], [C, P], [C, M]; None is ones.
      scale_per_label: if false, the distance scale and the force norms are means over all C groups,
        as in the released code; if true, each group has its own.
      drop_self_pairs: if false, the released clip gives a masked self pair an affinity of 1e-3; if
        true, it is exactly 0.
    """
    x = jax.lax.stop_gradient(as_float(generated))
    num_pos = positives.shape[1]
    targets, weights = _weighted_targets(
        x, positives, negatives, generated_weight, positive_weight, negative_weight
    )
    groups = (1, 2) if scale_per_label else (0, 1, 2)
    raw = distances(x, targets)
    mean_weight = jnp.mean(weights[:, None, :], axis=groups, keepdims=True)
    scale = jnp.mean(raw * weights[:, None, :], axis=groups, keepdims=True) / mean_weight
    # In these coordinates the mean distance is sqrt(D), so that loss and force do not grow with D.
    coordinate_scale = jnp.maximum(scale / x.shape[-1] ** 0.5, 1e-3)
    scaled = _add_to_diagonal(raw / jnp.maximum(scale, 1e-3), SELF_DISTANCE_SCALED)
    affinity = _clipped_affinities(scaled, temperatures, drop_self_pairs)
    coefficients = cross_weights(affinity * weights[None, :, None, :], targets.shape[1] - num_pos)
    force, norms = 0.0, {}
    for temperature, coefficient in zip(temperatures, coefficients, strict=True):
        one = weighted_sum(coefficient, targets / coordinate_scale)
        norm = jnp.mean(jnp.square(one), axis=groups, keepdims=True)
        force += one / jnp.sqrt(jnp.maximum(norm, 1e-8))
        norms[f"force_{temperature:g}"] = jnp.mean(norm)
    metrics = {
        "drift_norm": jnp.mean(jnp.sqrt(jnp.mean(jnp.square(force), axis=(1, 2)))),
        **distance_statistics(raw),
        "distance_scale": jnp.mean(scale),
        **norms,
    }
    return Target(x / coordinate_scale + force, coordinate_scale, metrics)


def _weighted_targets(x, positives, negatives, generated_weight, positive_weight, negative_weight):
    """[samples, negatives, positives] as one set [C, G + M + P, D] and its weights."""
    sets = [(x, generated_weight), (negatives, negative_weight), (positives, positive_weight)]
    sets = [(jax.lax.stop_gradient(as_float(s)), w) for s, w in sets if s is not None]
    weights = [jnp.ones(s.shape[:2], x.dtype) if w is None else as_float(w) for s, w in sets]
    # [C, G + M + P, D] and [C, G + M + P]
    return jnp.concatenate([s for s, _ in sets], axis=1), jnp.concatenate(weights, axis=1)


def _clipped_affinities(scaled, temperatures, drop_self_pairs):
    """Affinities [T, C, G, K] of scaled distances [C, G, K], at least the released minimum."""
    affinity = jnp.maximum(affinities(scaled, temperatures), MIN_AFFINITY)
    if drop_self_pairs:
        affinity = affinity * (1.0 - jnp.eye(*scaled.shape[-2:], dtype=scaled.dtype))[None, None]
    return affinity


def regression_loss(features: jax.Array, target: Target) -> jax.Array:
    """mean((phi / scale - goal)^2) of each group: [C, N, D] to [C].

    Here alone a gradient flows: into the features of the generator's samples.
    """
    error = as_float(features) / target.scale - target.goal
    return jnp.mean(jnp.square(error), axis=(1, 2))

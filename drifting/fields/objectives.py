"""The objective of a learned field: how close its step brings a set to a distribution.

The energy distance of two distributions (Szekely and Rizzo, J. Stat. Plan. Inference 143(8), 2013)
is 2 E|x - y| - E|x - x'| - E|y - y'|; it is 0 only if they are equal. Without the pairs of a point
with itself, the estimate from two sets is unbiased and may be negative; with those pairs it is the
distance of the two empirical distributions.

Sets are [C, N, D], values [C]. Everything is differentiable, also where points coincide.
"""

import jax
import jax.numpy as jnp

from drifting.fields import pairs


def energy_distance(x: jax.Array, y: jax.Array, own_pairs: bool = False) -> jax.Array:
    """The energy distance [C] of x [C, N, D] and y [C, M, D], with N and M at least 2.

    Args:
      own_pairs: includes the pairs of a point with itself (V statistic), which biases the estimate.
    """
    own = _mean_own_distance(x, own_pairs) + _mean_own_distance(y, own_pairs)
    return 2.0 * _mean_distance(x, y) - own


def guided_energy_distance(
    x: jax.Array, y: jax.Array, unconditional: jax.Array, cfg_scale: jax.Array
) -> jax.Array:
    """The energy distance of x [C, N, D] to the guided target s p(y) - (s - 1) p(unconditional).

    The kernel field with unconditional negatives vanishes at this target (Deng et al., "Generative
    Modeling via Drifting", arXiv:2602.04770, on classifier-free guidance): there the mixture of x
    and unconditional data equals p(y). At s = 1 it is `energy_distance`.

    Args:
      y: [C, P, D] real points of the class.
      unconditional: [C, M, D] real points of any class, M at least 2.
      cfg_scale: [C], the guidance scale s.
    """
    s, less = cfg_scale, cfg_scale - 1.0
    to_target = s * _mean_distance(x, y) - less * _mean_distance(x, unconditional)
    within_target = (
        s**2 * _mean_own_distance(y)
        - 2.0 * s * less * _mean_distance(y, unconditional)
        + less**2 * _mean_own_distance(unconditional)
    )
    return 2.0 * to_target - _mean_own_distance(x) - within_target


def _mean_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean(pairs.distances(x, y), axis=(1, 2))


def _mean_own_distance(x: jax.Array, own_pairs: bool = False) -> jax.Array:
    """E|x - x'| over pairs of different points, or over all."""
    n = x.shape[1]
    count = n * n if own_pairs else n * (n - 1)
    return jnp.sum(pairs.distances(x, x, begins_with_x=True), axis=(1, 2)) / count

"""Repulsion of near samples in a feature space, against fakes that are all alike."""

import jax
import jax.numpy as jnp

from drifting.fields import pairs


def repulsion(features: jax.Array, k: int, margin: float) -> jax.Array:
    """Mean over samples and their k nearest others of max(0, margin - distance); a scalar.

    Two samples of the same features have no direction apart, and get no gradient from each other.

    Args:
      features: of fakes, [N, D]; the margin is in their units.

    Raises:
      ValueError: k is not in 1 to N - 1.
    """
    if not 1 <= k < len(features):
        raise ValueError(f"k = {k} is not in 1 to {len(features) - 1}, the number of other samples")
    x = pairs.as_float(features)[None]
    distances = pairs.distances(x, x, begins_with_x=True)  # [1, N, N]
    others = jnp.where(pairs.own_pairs(distances), jnp.inf, distances)
    nearest = -jax.lax.top_k(-others, k)[0]  # [1, N, k]
    return jnp.mean(jax.nn.relu(margin - nearest))

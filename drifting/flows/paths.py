"""The path that both flow matching and MeanFlow learn, and the times at which it is sampled.

t = 0 is data, t = 1 is noise: z_t = (1 - t) x + t e, with the conditional velocity
v = dz_t / dt = e - x (Lipman et al., "Flow Matching for Generative Modeling", arXiv:2210.02747;
Liu et al., arXiv:2209.03003). Values are [B, ...], times [B].
"""

import jax
import jax.numpy as jnp

TIMES = ("logit_normal", "uniform")


def broadcast(times: jax.Array, values: jax.Array) -> jax.Array:
    """times [B] reshaped to broadcast with values [B, ...]."""
    return times.reshape(-1, *(1,) * (values.ndim - 1))  # [B, 1, ..., 1]


def interpolate(x: jax.Array, e: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """z_t = (1 - t) x + t e between data x and noise e, and v = e - x: both [B, ...]."""
    t = broadcast(t, x)
    return (1.0 - t) * x + t * e, e - x


def sample_times(key: jax.Array, n: int, distribution: str, mean: float, std: float) -> jax.Array:
    """n times in [0, 1], uniform, or sigmoid(mean + std * normal) for `logit_normal`.

    For the latter see Esser et al., "Scaling Rectified Flow Transformers" (arXiv:2403.03206).
    """
    if distribution == "uniform":
        return jax.random.uniform(key, (n,))
    return jax.nn.sigmoid(mean + std * jax.random.normal(key, (n,)))


def sample_intervals(
    key: jax.Array, n: int, distribution: str, mean: float, std: float
) -> tuple[jax.Array, jax.Array]:
    """n pairs r <= t: two draws of `sample_times`, ordered (MeanFlow, algorithm 1)."""
    draws = sample_times(key, 2 * n, distribution, mean, std).reshape(2, n)  # [2, N]
    return jnp.min(draws, axis=0), jnp.max(draws, axis=0)

"""Feature matching: fakes have the mean features of real images inside a discriminator."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def feature_matching(fake: Sequence[jax.Array], real: Sequence[jax.Array]) -> jax.Array:
    """Mean over a discriminator's layers of the L1 distance between mean maps; a scalar.

    The L1 distance of a discriminator's maps is that of pix2pixHD (Wang et al., arXiv:1711.11585,
    equation 4), which compares pairs. Unpaired images have none, so the maps are first averaged
    over a batch, as in Salimans et al. (arXiv:1606.03498).

    Args:
      fake, real: maps [B, h, w, C] of each layer; those of real images get no gradient.
    """
    distances = [
        jnp.mean(jnp.abs(_mean_map(a) - _mean_map(jax.lax.stop_gradient(b))))
        for a, b in zip(fake, real, strict=True)
    ]
    return sum(distances) / len(distances)


def _mean_map(maps: jax.Array) -> jax.Array:
    return jnp.mean(maps, axis=0, dtype=jnp.float32)

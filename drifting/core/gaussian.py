"""The Gaussian of an autoencoder's latents, from its moments [B, h, w, 2c].

Means come first, then log-variances, which are clipped wherever they are used, as in the
DiagonalGaussianDistribution of latent diffusion (Rombach et al., arXiv:2112.10752).
"""

import jax
import jax.numpy as jnp

from input_pipeline.sources.latents import LOG_VARIANCE


def split(moments: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Means and clipped log-variances, [B, h, w, c] each."""
    mean, log_variance = jnp.split(moments, 2, axis=-1)
    return mean, jnp.clip(log_variance, *LOG_VARIANCE)


def latents(moments: jax.Array, noise: jax.Array) -> jax.Array:
    """The latents [B, h, w, c] to which standard normal noise [B, h, w, c] leads."""
    mean, log_variance = split(moments)
    return mean + jnp.exp(log_variance / 2) * noise


def draw(moments: jax.Array, key: jax.Array) -> jax.Array:
    """A draw of the latents, [B, h, w, c]."""
    mean, _ = split(moments)
    return latents(moments, jax.random.normal(key, mean.shape, mean.dtype))


def kl(moments: jax.Array) -> jax.Array:
    """KL divergence [B] of each sample's Gaussian from the standard normal one, in nats.

    0.5 sum(mean^2 + variance - 1 - log-variance) over all axes but the first.
    """
    mean, log_variance = split(moments)
    terms = jnp.square(mean) + jnp.exp(log_variance) - 1.0 - log_variance
    return 0.5 * jnp.sum(terms, axis=tuple(range(1, terms.ndim)))

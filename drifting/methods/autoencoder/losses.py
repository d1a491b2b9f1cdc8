"""What training minimises and how reconstructions are scored, as functions of arrays."""

import jax
import jax.numpy as jnp

from drifting.core import gaussian

ERRORS = {"l1": jnp.abs, "l2": jnp.square}
GREY_LEVELS = 255.0


def per_image(
    images: jax.Array,
    reconstructions: jax.Array,
    moments: jax.Array,
    logvar: jax.Array | float,
    *,
    error: str,
    kl_weight: float,
) -> dict[str, jax.Array]:
    """The loss of each image and its two parts, float32 [B] each.

    loss = sum over values of (error / exp(logvar) + logvar) + kl_weight * kl, the negative log
    likelihood up to a constant (cfpark00/MLtools, after Rombach et al., arXiv:2112.10752).

    Args:
      images, reconstructions: [B, H, W, C].
      moments: mean and log-variance of the latents, [B, h, w, 2 z].
      logvar: scalar, the logarithm of the scale of errors; 0 where it is not learned.
      error: a name in ERRORS.

    Returns:
      `recons_err`, the errors in [-1, 1] summed over the H W C values of an image; `kl`, the
      divergence of its latents from N(0, 1), in nats, summed over them; and `loss`.
    """
    recons_err = jnp.sum(ERRORS[error](images - reconstructions), axis=(1, 2, 3))
    kl = gaussian.kl(moments)
    nll = recons_err / jnp.exp(logvar) + images[0].size * logvar
    return {"loss": nll + kl_weight * kl, "recons_err": recons_err, "kl": kl}


def psnr(images: jax.Array, others: jax.Array) -> jax.Array:
    """The peak signal-to-noise ratio of uint8 images [B, H, W, C], in dB: [B].

    10 log10(255^2 / mean squared difference). Of identical images it would be infinite: they count
    as if one value differed by one grey level.
    """
    difference = images.astype(jnp.float32) - others.astype(jnp.float32)
    squared = jnp.mean(jnp.square(difference), axis=(1, 2, 3))
    least = 1.0 / images[0].size
    return 10.0 * jnp.log10(GREY_LEVELS**2 / jnp.maximum(squared, least))

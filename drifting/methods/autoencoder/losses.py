"""What training minimises and how reconstructions are scored, as functions of arrays."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from drifting.core import gaussian

ERRORS = {"l1": jnp.abs, "l2": jnp.square}
EPSILON = 1e-10  # under the root of a squared length: the gradient at 0 is 0, not NaN


def summed(error: str, images: jax.Array, reconstructions: jax.Array) -> jax.Array:
    """The errors of all values of each image, summed: [B], for images [B, H, W, C].

    Args:
      error: a name in ERRORS.
    """
    return jnp.sum(ERRORS[error](images - reconstructions), axis=(1, 2, 3))


def per_image(
    recons_err: jax.Array,
    moments: jax.Array,
    logvar: jax.Array | float,
    *,
    values: int,
    kl_weight: float,
    features: jax.Array | float = 0.0,
) -> dict[str, jax.Array]:
    """The loss of each image and its parts, float32 [B] each.

    loss = (recons_err + values * features) / exp(logvar) + values * logvar + kl_weight * kl, the
    negative log likelihood up to a constant (cfpark00/MLtools, after Rombach et al.,
    arXiv:2112.10752).

    Args:
      recons_err: [B], see `summed`.
      moments: mean and log-variance of the latents, [B, h, w, 2 z].
      logvar: scalar, the logarithm of the scale of errors; 0 where it is not learned.
      values: of one image, H W C.
      features: [B], a distance in the features of a network, already weighted.

    Returns:
      `loss`; `recons_err`; and `kl`, the divergence of the latents of an image from N(0, 1), in
      nats, summed over them.
    """
    kl = gaussian.kl(moments)
    nll = (recons_err + values * features) / jnp.exp(logvar) + values * logvar
    return {"loss": nll + kl_weight * kl, "recons_err": recons_err, "kl": kl}


def feature_distance(maps: Sequence[jax.Array], others: Sequence[jax.Array]) -> jax.Array:
    """The distance of images in the features of a network: [B].

    The sum over maps [B, h, w, C] of the mean over places of the squared distance of the two
    vectors [C], each divided by its length: LPIPS (Zhang et al., arXiv:1801.03924) without the
    learned weights of channels.
    """

    def unit(x: jax.Array) -> jax.Array:
        x = x.astype(jnp.float32)
        return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + EPSILON)

    pairs = zip(maps, others, strict=True)
    squared = [jnp.sum(jnp.square(unit(a) - unit(b)), axis=-1) for a, b in pairs]  # [B, h, w]
    return sum(jnp.mean(x, axis=(1, 2)) for x in squared)

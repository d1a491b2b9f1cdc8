"""PatchNCE: a patch of the output resembles the same patch of the input more than other patches.

Park et al., "Contrastive Learning for Unpaired Image-to-Image Translation" (arXiv:2007.15651);
numbers as in the release (github.com/taesungp/contrastive-unpaired-translation).
"""

import jax
import jax.numpy as jnp
import optax

OWN_NEGATIVE = -10.0  # the similarity that stands for a patch as a negative of itself
HIGHEST = jax.lax.Precision.HIGHEST  # else float32 products are TF32 on recent GPUs


def places(key: jax.Array, height: int, width: int, n: int) -> jax.Array:
    """Distinct random places of a map, flat (row * width + column), int32 [min(n, H * W)]."""
    # Not a permutation of all places, which sorts them: 25 ms on a CPU for a map of 256 x 256.
    draws = jax.random.uniform(key, (height * width,))
    return jax.lax.top_k(draws, min(n, height * width))[1]


def gather(maps: jax.Array, places: jax.Array) -> jax.Array:
    """The features [B, P, C] of maps [B, H, W, C] at flat places [P], the same in all images."""
    flat = maps.reshape(len(maps), -1, maps.shape[-1])  # [B, H * W, C]
    return jnp.take(flat, places, axis=1)


def normalize(x: jax.Array, epsilon: float = 1e-7) -> jax.Array:
    """x / (|x| + epsilon) along the last axis, in float32 at least; finite gradients at x = 0."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x / (optax.safe_norm(x, 0.0, axis=-1, keepdims=True) + epsilon)


def patchnce(
    queries: jax.Array,
    keys: jax.Array,
    *,
    temperature: float = 0.07,
    across_batch: bool = False,
    clamp: float | None = None,
) -> jax.Array:
    """The loss of each patch, [B, P]: the cross entropy of its key among all keys.

    With similarities s_ij = q_i . k_j / temperature, the loss of patch i is

        -s_ii + log(exp(-10 / temperature) + sum over j of exp(s_ij)),

    where the first term of the logarithm is the patch as a negative of itself.

    Args:
      queries: normalised features [B, P, D] of patches of the output.
      keys: normalised features [B, P, D] of the same patches of the input, without a gradient.
      across_batch: the negatives are the patches of all images, instead of those of one image.
      clamp: the similarities, divided by the temperature, are cut off at +- this.
    """
    shape = queries.shape[:-1]
    if across_batch:
        queries, keys = (x.reshape(1, -1, x.shape[-1]) for x in (queries, keys))
    keys = jax.lax.stop_gradient(keys)
    logits = jnp.einsum("bpd,bqd->bpq", queries, keys, precision=HIGHEST) / temperature
    if clamp is not None:
        logits = jnp.clip(logits, -clamp, clamp)
    positive = jnp.diagonal(logits, axis1=1, axis2=2)  # [B, P]
    total = jnp.logaddexp(jax.nn.logsumexp(logits, axis=-1), OWN_NEGATIVE / temperature)
    return (total - positive).reshape(shape)

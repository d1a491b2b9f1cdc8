"""Images to patches and back; values of a patch are in the order row, column, channel."""

import einops
import jax


def fold(images: jax.Array, patch: int) -> jax.Array:
    """Images [B, H, W, C] to a map of patches [B, H/p, W/p, p * p * C]."""
    return einops.rearrange(images, "b (h p) (w q) c -> b h w (p q c)", p=patch, q=patch)


def unfold(folded: jax.Array, patch: int) -> jax.Array:
    """The inverse of `fold`: [B, h, w, p * p * C] to [B, h * p, w * p, C]."""
    return einops.rearrange(folded, "b h w (p q c) -> b (h p) (w q) c", p=patch, q=patch)


def patchify(images: jax.Array, patch: int) -> jax.Array:
    """Square images [B, S, S, C] to tokens [B, (S/p)^2, p * p * C], row by row.

    Raises:
      ValueError: the images are not square, or the patch does not divide them.
    """
    if images.ndim != 4 or images.shape[1] != images.shape[2]:
        raise ValueError(f"z has shape {images.shape}; it must be square images [B, S, S, C]")
    if patch < 1 or images.shape[1] % patch:
        raise ValueError(f"patch size {patch} does not divide image size {images.shape[1]}")
    folded = fold(images, patch)
    return folded.reshape(folded.shape[0], -1, folded.shape[3])  # [B, (S/p)^2, p p C]


def unpatchify(tokens: jax.Array, patch: int, size: int) -> jax.Array:
    """The inverse of `patchify`: [B, (S/p)^2, p * p * C] to [B, S, S, C]."""
    grid = size // patch
    return unfold(tokens.reshape(tokens.shape[0], grid, grid, -1), patch)

"""Images to patches and back; values of a patch are in the order row, column, channel."""

from typing import Any

import einops
import jax
from flax import linen as nn

from models.layers.convolution import torch_default
from models.layers.dense import by_rows

Dtype = Any


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


class Merge(nn.Module):
    """The convolution over patches that do not overlap: [B, H, W, C] to [B, H/p, W/p, features].

    Equal to a convolution of side p with stride p, without the gradient's dilated convolution, for
    which XLA has no quick form on CPUs.
    """

    features: int
    dtype: Dtype
    patch: int = 2

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.patch, self.patch, x.shape[-1], self.features)
        kernel = self.param("kernel", torch_default, shape)  # [p, p, C, features]
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = (v.astype(self.dtype) for v in (x, kernel, bias))
        matrix = kernel.reshape(-1, self.features)
        return by_rows(lambda rows: rows @ matrix + bias[None], fold(x, self.patch))


class Spread(nn.Module):
    """The transpose of `Merge`: each place [C] to a patch, [B, h, w, C] to [B, h p, w p, features].

    Equal to a transposed convolution of side p with stride p.
    """

    features: int
    dtype: Dtype
    patch: int = 2

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.patch, self.patch, self.features, x.shape[-1])
        kernel = self.param("kernel", torch_default, shape)  # [p, p, features, C]
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = (v.astype(self.dtype) for v in (x, kernel, bias))
        matrix = kernel.reshape(-1, x.shape[-1]).T  # [C, p p features]
        patches = by_rows(lambda rows: rows @ matrix, x)
        return unfold(patches, self.patch) + bias[None, None, None]

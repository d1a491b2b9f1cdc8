"""A small convolutional network as the velocity of small images, for two CPU cores."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.conditioning import Conditioning
from models.dit import Modulation, modulate
from models.norms import kaiming_normal, norm

Dtype = Any


def conv3x3(features: int, dtype: Dtype, name: str, zero: bool = False) -> nn.Module:
    """A convolution that keeps the size; `zero` at the start or not."""
    init = nn.initializers.zeros if zero else kaiming_normal
    return nn.Conv(features, (3, 3), padding=1, dtype=dtype, kernel_init=init, name=name)


class Block(nn.Module):
    """x [B, H, W, C] plus two convolutions of it, modulated (FiLM) by the condition [B, C]."""

    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        batch, _, _, channels = x.shape
        shift, scale = Modulation(2, dtype=self.dtype, name="modulation")(condition)
        h = nn.silu(norm("group", channels, False, self.dtype, name="norm1")(x))
        h = conv3x3(channels, self.dtype, "conv1")(h)
        h = norm("group", channels, False, self.dtype, name="norm2")(h)
        h = modulate(h.reshape(batch, -1, channels), shift, scale).reshape(x.shape)
        return x + conv3x3(channels, self.dtype, "conv2", zero=True)(nn.silu(h))


class CNN(nn.Module):
    """Residual blocks at one width and full size; for images of 8 to 32 pixels.

    An output sees 4 * depth + 5 pixels on a side, so 8x8 digits whole by default, 32x32 not.

    Attributes:
      num_classes: label `num_classes` is the null class; with 0 labels are ignored.
      width: channels of every block.
      depth: number of blocks.
    """

    num_classes: int
    width: int = 64
    depth: int = 4
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        z: jax.Array,
        t: jax.Array,
        h: jax.Array,
        labels: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Velocities float32 [B, H, W, C] of noisy images z [B, H, W, C]; zero before training.

        Args:
          t, h: float32 [B], the time and the length of the interval that ends there.
          labels: int32 [B], 0 to num_classes (the null class).
          train: has no effect, as there is no dropout.

        Raises:
          ValueError: z is no batch of images, or labels are missing.
        """
        if z.ndim != 4:
            raise ValueError(f"z has shape {z.shape}; a CNN takes images [B, H, W, C]")
        condition = Conditioning(self.num_classes, self.width, name="conditioning")(t, h, labels)
        x = conv3x3(self.width, self.dtype, "conv_in")(z)
        for i in range(self.depth):
            x = Block(self.dtype, name=f"block_{i}")(x, condition)
        x = nn.silu(norm("group", self.width, False, self.dtype, name="norm_out")(x))
        return conv3x3(z.shape[-1], jnp.float32, "conv_out", zero=True)(x)

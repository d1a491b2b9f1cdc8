"""A discriminator that judges overlapping patches of an image.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (arXiv:1611.07004):
with three layers each place of the output sees 70x70 pixels.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

MOST_DOUBLINGS = 3  # of the channels


class PatchDiscriminator(nn.Module):
    """Images [B, H, W, C] to float32 logits [B, h, w], large for real patches.

    The norm is an instance norm without weights: a judgement depends on its own image alone, so it
    is the same in micro-batches, and there are no running statistics.

    Attributes:
      width: channels of the first convolution; each further one has twice as many, at most 8 times.
      layers: convolutions of stride 2. One side of the output is H / 2^layers - 2.
    """

    width: int = 64
    layers: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Raises ValueError for images too small for the number of layers."""
        if min(images.shape[1:3]) // 2**self.layers < 3:
            raise ValueError(
                f"{self.layers} layers need images of at least {3 * 2**self.layers} pixels, not "
                f"{images.shape[1]} x {images.shape[2]}"
            )
        x = nn.leaky_relu(self._conv(self.width, 2, "conv_0")(images), 0.2)
        for i in range(1, self.layers + 1):
            stride = 2 if i < self.layers else 1
            x = self._conv(self.width * 2 ** min(i, MOST_DOUBLINGS), stride, f"conv_{i}")(x)
            x = nn.leaky_relu(self._norm()(x), 0.2)
        return self._conv(1, 1, "out_conv")(x)[..., 0].astype(jnp.float32)

    def _conv(self, features: int, stride: int, name: str) -> nn.Conv:
        return nn.Conv(
            features, (4, 4), (stride, stride), padding=((1, 1), (1, 1)),
            kernel_init=nn.initializers.normal(0.02), dtype=self.dtype, name=name,
        )  # fmt: skip

    def _norm(self) -> nn.InstanceNorm:
        return nn.InstanceNorm(
            epsilon=1e-5, use_bias=False, use_scale=False, use_fast_variance=False,
            dtype=self.dtype,
        )  # fmt: skip

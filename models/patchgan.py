"""A discriminator that judges overlapping patches of an image.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (arXiv:1611.07004):
with three layers each place of the output sees 70x70 pixels, or 84x84 if it is antialiased.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.layers.convolution import faint_init
from models.layers.norms import instance_norm
from models.layers.resample import blur_halve, require_resampling

MOST_DOUBLINGS = 3  # of the channels
FEWEST = 3  # pixels of a side of the map that the last two convolutions make two smaller

Maps = tuple[jax.Array, ...]


class PatchGAN(nn.Module):
    """Images [B, H, W, C] to float32 logits [B, h, w] for each scale, large for real patches.

    The norm is an instance norm without weights: a judgement depends on its own image alone.

    Attributes:
      width: channels of the first convolution; each further one has twice as many, at most 8 times.
      layers: how often the size is halved, rounded down; the logits are two smaller.
      resampling: 'strided' (convolutions of stride 2) or 'antialias' (of stride 1, with a blur that
        keeps every second pixel after the activation, as in the release of CUT).
      spectral_norm: divides each kernel, as a matrix with a column for each output, by its largest
        singular value (Miyato et al., arXiv:1802.05957). One power iteration estimates it, from a
        vector in the collection 'batch_stats'.
      scales: discriminators of the image at full size, at half of it and so on, without shared
        weights (Wang et al., pix2pixHD, arXiv:1711.11585).
      initializer: of the kernels, 'xavier' or 'normal', see `faint_init`; biases are 0.
    """

    width: int = 64
    layers: int = 3
    resampling: str = "strided"
    spectral_norm: bool = False
    scales: int = 1
    initializer: str = "xavier"
    dtype: Any = jnp.float32

    def __call__(self, images: jax.Array, update_stats: bool = False) -> Maps:
        """The logits of each scale, the full size first.

        Args:
          update_stats: keeps the vectors that the power iterations arrive at; 'batch_stats' then
            has to be mutable.

        Raises:
          ValueError: the images are too small for the layers, or an attribute is unknown.
        """
        return self.with_features(images, update_stats)[0]

    @nn.compact
    def with_features(self, images: jax.Array, update_stats: bool = False) -> tuple[Maps, Maps]:
        """The logits, and the maps [B, h, w, C] after all activations, scale by scale."""
        self._check(images.shape)
        logits, maps = [], []
        for scale in range(self.scales):
            images = _halved(images) if scale else images
            judged, seen = self._judge(images, f"scale_{scale}_" if scale else "", update_stats)
            logits.append(judged)
            maps += seen
        return tuple(logits), tuple(maps)

    def _judge(
        self, x: jax.Array, prefix: str, update_stats: bool
    ) -> tuple[jax.Array, list[jax.Array]]:
        """The logits and the maps of one scale, whose weights' names begin with `prefix`."""
        strided, maps = self.resampling == "strided", []
        for i in range(self.layers + 1):
            halving = i < self.layers
            features = self.width * 2 ** min(i, MOST_DOUBLINGS)
            stride = 2 if halving and strided else 1
            x = self._conv(x, features, stride, f"{prefix}conv_{i}", update_stats)
            x = nn.leaky_relu(instance_norm(x) if i else x, 0.2)
            maps.append(x)
            x = blur_halve(x) if halving and not strided else x
        x = self._conv(x, 1, 1, f"{prefix}out_conv", update_stats)
        return x[..., 0].astype(jnp.float32), maps

    def _conv(
        self, x: jax.Array, features: int, stride: int, name: str, update_stats: bool
    ) -> jax.Array:
        conv = nn.Conv(
            features, (4, 4), stride, padding=1, kernel_init=faint_init(self.initializer),
            dtype=self.dtype, name=name,
        )  # fmt: skip
        return (
            nn.SpectralNorm(conv)(x, update_stats=update_stats) if self.spectral_norm else conv(x)
        )

    def _check(self, shape: tuple[int, ...]) -> None:
        require_resampling(self.resampling)
        for key in ("width", "layers", "scales"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} {getattr(self, key)} is not at least 1")
        least = (FEWEST * 2**self.layers - 1) * 2 ** (self.scales - 1) + 1
        if min(shape[1:3]) < least:
            scales = f" at {self.scales} scales" if self.scales > 1 else ""
            raise ValueError(
                f"{self.layers} layers{scales} need images of at least {least} pixels, not "
                f"{shape[1]} x {shape[2]}"
            )


def _halved(images: jax.Array) -> jax.Array:
    """The mean of 3x3 pixels around every second one, as in pix2pixHD; sizes are rounded up."""
    return nn.avg_pool(images, (3, 3), (2, 2), ((1, 1), (1, 1)), count_include_pad=False)

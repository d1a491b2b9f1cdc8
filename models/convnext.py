"""ConvNeXt (Liu et al., arXiv:2201.03545) with a stem for small images.

Layers are as in torchvision, whose weights load through drifting/pretrained/torchvision.py.
Images of 64x64 and less are cut into patches of 2x2 instead of 4x4.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.activations import Activations
from models.layers.dense import by_rows

Dtype = Any

DEPTHS = (3, 3, 9, 3)  # of ConvNeXt-Tiny
WIDTHS = (96, 192, 384, 768)
PATCH_SIZES = {"imagenet": 4, "medium": 2, "small": 2}
LAYER_SCALE = 1e-6

# torchvision truncates at -2 and 2, a hundred standard deviations away.
_normal = nn.initializers.normal(0.02)


def drop_rates(depths: tuple[int, ...], last: float) -> list[float]:
    """The rate of stochastic depth of each block, growing linearly from 0 to `last`."""
    total = sum(depths)
    return [last * k / max(total - 1, 1) for k in range(total)]


def layer_norm(dtype: Dtype, name: str) -> nn.Module:
    """Over channels, in float32."""
    return nn.LayerNorm(epsilon=1e-6, dtype=dtype, name=name)


def downsample(features: int, size: int, dtype: Dtype, name: str) -> nn.Module:
    """A convolution over patches of size x size that do not overlap."""
    return nn.Conv(
        features, (size, size), size, padding="VALID", dtype=dtype, kernel_init=_normal, name=name
    )


class Block(nn.Module):
    """7x7 depthwise convolution and an MLP over channels, scaled, dropped, added to the input.

    Attributes:
      drop_rate: probability that an image's branch is dropped in training (stochastic depth,
        arXiv:1603.09382).
    """

    drop_rate: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1]
        y = nn.Conv(
            channels, (7, 7), padding=3, feature_group_count=channels,
            dtype=self.dtype, kernel_init=_normal, name="depthwise",
        )(x)  # fmt: skip
        y = by_rows(self._mlp, layer_norm(self.dtype, "norm")(y))
        # One draw per image: everything else is broadcast.
        drop = nn.Dropout(self.drop_rate, broadcast_dims=(1, 2, 3), deterministic=not train)
        return x + drop(y)

    def _mlp(self, x: jax.Array) -> jax.Array:
        """The MLP over the channels of every place of a map, [N, C], scaled."""
        channels = x.shape[-1]
        x = nn.Dense(4 * channels, dtype=self.dtype, kernel_init=_normal, name="expand")(x)
        x = nn.gelu(x, approximate=False)
        x = nn.Dense(channels, dtype=self.dtype, kernel_init=_normal, name="project")(x)
        scale = self.param("layer_scale", nn.initializers.constant(LAYER_SCALE), (channels,))
        return x * scale.astype(self.dtype)[None, :]


class ConvNeXt(nn.Module):
    """Classifier of images; maps `stem`, `stage1` to `stage4` and their blocks.

    Attributes:
      depths, widths: blocks and channels of each stage.
      drop_rate: of the last block, see `drop_rates`; in training it needs the random stream
        'dropout'.
      stem: a key of PATCH_SIZES.
    """

    num_classes: int
    depths: tuple[int, ...] = DEPTHS
    widths: tuple[int, ...] = WIDTHS
    drop_rate: float = 0.1
    stem: str = "imagenet"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> Activations:
        """Activations of standardised images, float [B, H, W, C]."""
        patch = PATCH_SIZES[self.stem]
        x = downsample(self.widths[0], patch, self.dtype, "stem_conv")(x)
        x = layer_norm(self.dtype, "stem_norm")(x)
        maps = {"stem": x}
        rates = iter(drop_rates(self.depths, self.drop_rate))
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            if i > 1:
                if min(x.shape[1:3]) < 2:
                    raise ValueError(
                        f"nothing would be left of the images at width {width}: ConvNeXt needs "
                        f"images of {patch * 2 ** (len(self.widths) - 1)} pixels or more"
                    )
                x = layer_norm(self.dtype, f"downsample{i}_norm")(x)
                x = downsample(width, 2, self.dtype, f"downsample{i}_conv")(x)
            for j in range(1, depth + 1):
                name = f"stage{i}_block{j}"
                x = maps[name] = Block(next(rates), self.dtype, name=name)(x, train)
            maps[f"stage{i}"] = x
        pooled = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        pooled = layer_norm(jnp.float32, "norm")(pooled)
        logits = nn.Dense(self.num_classes, kernel_init=_normal, name="classifier")(pooled)
        return Activations(logits, pooled, maps)

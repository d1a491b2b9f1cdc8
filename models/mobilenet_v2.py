"""MobileNetV2 (Sandler et al., arXiv:1801.04381) with stems for small images.

Layers are as in torchvision, whose weights load through drifting/pretrained/torchvision.py. On
32x32 and 64x64 images the earliest strides are dropped, which keeps the last map at 4x4.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.activations import Activations
from models.layers.convolution import ConvNorm

Dtype = Any

STAGES = (
    # expansion, channels, blocks, stride of the first block (the paper's table 2)
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEMS = {
    # name: stride of the first convolution, stride of the second stage
    "imagenet": (2, 2),
    "medium": (1, 2),
    "small": (1, 1),
}
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, or the next larger one if that loses more than a tenth."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class InvertedResidual(nn.Module):
    """1x1 convolution to `expansion` times the channels, 3x3 depthwise, 1x1 without activation."""

    features: int
    expansion: int
    stride: int
    norm: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        common = dict(norm=self.norm, dtype=self.dtype)
        wide = x.shape[-1] * self.expansion
        y = x
        if self.expansion != 1:
            y = ConvNorm(wide, 1, activation=jax.nn.relu6, name="expand", **common)(y, train)
        y = ConvNorm(
            wide, 3, self.stride, groups=wide, activation=jax.nn.relu6, name="depthwise", **common
        )(y, train)
        y = ConvNorm(self.features, 1, name="project", **common)(y, train)
        return x + y if x.shape == y.shape else y


class MobileNetV2(nn.Module):
    """Classifier of images; maps `stem`, `stage1` to `stage7`, their blocks, and `head`, the last
    convolution.

    Attributes:
      width: multiplies every number of channels, which is then rounded to a multiple of 8; the
        head is never narrowed.
      dropout: rate before the last layer; in training it needs the random stream 'dropout'.
      stem: a key of STEMS.
      norm: 'batch' or 'group', see layers/norms.py.
    """

    num_classes: int
    width: float = 1.0
    dropout: float = 0.2
    stem: str = "imagenet"
    norm: str = "batch"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> Activations:
        """Activations of standardised images, float [B, H, W, C]; in training with norm 'batch'
        the collection `batch_stats` is written."""
        common = dict(norm=self.norm, dtype=self.dtype)
        stem_stride, second_stride = STEMS[self.stem]
        x = ConvNorm(
            round_channels(STEM_CHANNELS * self.width), 3, stem_stride,
            activation=jax.nn.relu6, name="stem", **common,
        )(x, train)  # fmt: skip
        maps = {"stem": x}
        for i, (expansion, channels, blocks, stride) in enumerate(STAGES, start=1):
            features = round_channels(channels * self.width)
            stride = second_stride if i == 2 else stride
            for j in range(1, blocks + 1):
                name = f"stage{i}_block{j}"
                block = InvertedResidual(
                    features, expansion, stride if j == 1 else 1, name=name, **common
                )
                x = maps[name] = block(x, train)
            maps[f"stage{i}"] = x
        features = round_channels(HEAD_CHANNELS * max(1.0, self.width))
        head = ConvNorm(features, 1, activation=jax.nn.relu6, name="head", **common)
        x = maps["head"] = head(x, train)
        pooled = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        init = nn.initializers.normal(0.01)
        logits = nn.Dense(self.num_classes, kernel_init=init, name="classifier")(pooled)
        return Activations(logits, pooled, maps)

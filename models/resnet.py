"""ResNet (He et al., arXiv:1512.03385) with stems for small images.

The bottleneck has its stride on the 3x3 convolution, as in torchvision, whose weights load through
drifting/pretrained/torchvision.py. Stems for 32x32 and 64x64 images keep the last map at 4x4.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.activations import Activations
from models.layers.convolution import ConvNorm

Dtype = Any

STEMS = {
    # name: kernel and stride of the first convolution, whether a max-pool follows
    "imagenet": (7, 2, True),
    "medium": (3, 1, True),
    "small": (3, 1, False),
}


class Block(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1 to four times the width, plus a shortcut.

    Attributes:
      width: channels of the 3x3 convolutions.
    """

    width: int
    stride: int
    bottleneck: bool
    norm: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        def layer(name: str, features: int, kernel: int, stride: int = 1, activation=None):
            return ConvNorm(
                features, kernel, stride, norm=self.norm, activation=activation,
                dtype=self.dtype, name=name,
            )  # fmt: skip

        if self.bottleneck:
            out = 4 * self.width
            y = layer("conv1", self.width, 1, activation=nn.relu)(x, train)
            y = layer("conv2", self.width, 3, self.stride, nn.relu)(y, train)
            y = layer("conv3", out, 1)(y, train)
        else:
            out = self.width
            y = layer("conv1", self.width, 3, self.stride, nn.relu)(x, train)
            y = layer("conv2", out, 3)(y, train)
        if self.stride != 1 or x.shape[-1] != out:
            x = layer("shortcut", out, 1, self.stride)(x, train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Classifier of images; maps `stem` (after its pool), `stage1` to `stage4` and their blocks.

    Attributes:
      blocks: number of blocks of each stage; all but the first halve the map and double the width.
      width: channels of the first stage's 3x3 convolutions.
      stem: a key of STEMS.
      norm: 'batch' or 'group', see layers/norms.py.
    """

    num_classes: int
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False
    width: int = 64
    stem: str = "imagenet"
    norm: str = "batch"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> Activations:
        """Activations of standardised images, float [B, H, W, C]; in training with norm 'batch'
        the collection `batch_stats` is written."""
        kernel, stride, pool = STEMS[self.stem]
        x = ConvNorm(
            self.width, kernel, stride, norm=self.norm, activation=nn.relu,
            dtype=self.dtype, name="stem",
        )(x, train)  # fmt: skip
        if pool:
            x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        maps = {"stem": x}
        for i, blocks in enumerate(self.blocks, start=1):
            for j in range(1, blocks + 1):
                stride = 2 if i > 1 and j == 1 else 1
                name, width = f"stage{i}_block{j}", self.width * 2 ** (i - 1)
                block = Block(width, stride, self.bottleneck, self.norm, self.dtype, name=name)
                x = maps[name] = block(x, train)
            maps[f"stage{i}"] = x
        pooled = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        init = _uniform(pooled.shape[-1] ** -0.5)
        logits = nn.Dense(self.num_classes, kernel_init=init, bias_init=init, name="classifier")
        return Activations(logits(pooled), pooled, maps)


def _uniform(bound: float) -> Callable[..., jax.Array]:
    """Uniform in [-bound, bound]; PyTorch's dense layers have a bound of 1 / sqrt(inputs)."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init

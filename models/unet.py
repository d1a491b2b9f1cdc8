"""U-Nets: a noisy image and two times to a velocity.

`SongUNet` is the DDPM++ of Song et al. (arXiv:2011.13456) in the form of EDM (Karras et al.,
arXiv:2206.00364) with the filter of NCSN++ and a second time, as in the CIFAR-10 release of
MeanFlow (Geng et al., arXiv:2505.13447). `FilmUNet` is kylevedder/DenoisingZoo's, after ADM
(Dhariwal and Nichol, arXiv:2105.05233): its times scale and shift, and enter the image as two
planes as well.

Both halve the size of the maps from level to level and double it again, attend where a map has one
of the sizes `attention_resolutions`, and concatenate a map of the way down to the input of each
block on the way up. They differ in which maps these are, and in the blocks.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.conditions import Condition, GeneratorNetwork
from models.layers.convolution import conv3x3, torch_default
from models.layers.embeddings import JointEmbedding, PairEmbedding, with_time_planes
from models.layers.resample import downsample, nearest, upsample
from models.unet_blocks import Attention, Initializer, ResBlock, Style

Dtype = Any

EMBEDDING_MULT = 4  # of model_channels, the width of the embedded times

SONG_SIZES = {
    # nano is for two CPU cores; ncsnpp the release's
    "nano": dict(
        model_channels=16, channel_mult=(1, 2, 2), num_blocks=1, attention_resolutions=(8,)
    ),
    "ncsnpp": dict(model_channels=128, channel_mult=(2, 2, 2), num_blocks=4),
}
FILM_SIZES = {
    # nano is for two CPU cores; the others are DenoisingZoo's, film_wide its counterpart of ncsnpp
    "nano": dict(
        model_channels=32, channel_mult=(1, 1, 1), num_blocks=1, attention_resolutions=(8,)
    ),
    "film": dict(model_channels=128, channel_mult=(1, 2, 2, 2), num_blocks=3),
    "film_wide": dict(model_channels=128, channel_mult=(2, 2, 2), num_blocks=4),
}


def _xavier(scale: float) -> Initializer:
    """Xavier's uniform distribution, its values multiplied by `scale`."""
    return nn.initializers.variance_scaling(scale**2, "fan_avg", "uniform")


SONG_STYLE = Style(
    epsilon=1e-6,
    min_group=4,
    film=False,
    skip_scale=math.sqrt(0.5),
    kernel_init=_xavier(1.0),
    branch_init=_xavier(1e-5),
    qkv_init=_xavier(math.sqrt(0.2)),
)
FILM_STYLE = Style(
    epsilon=1e-5,
    min_group=1,
    film=True,
    skip_scale=1.0,
    kernel_init=torch_default,
    branch_init=torch_default,
    qkv_init=torch_default,
)


class UNet(GeneratorNetwork):
    """What both U-Nets have in common; images [B, H, W, C] must halve evenly at every level.

    Attributes:
      model_channels: the unit of the widths.
      channel_mult: width of each level in this unit; the first level has the image's size.
      num_blocks: residual blocks per level on the way down.
      attention_resolutions: heights of the maps that are followed by self-attention.
      dropout: share of the values dropped before a block's second convolution in training.
      fused_attention: see `attend`; `fused()` turns it on.
      remat: blocks are recomputed in the backward pass instead of kept in memory.
    """

    model_channels: int = 128
    channel_mult: tuple[int, ...] = (2, 2, 2)
    num_blocks: int = 4
    attention_resolutions: tuple[int, ...] = (16,)
    num_heads: int = 1
    dropout: float = 0.0
    fused_attention: bool = False
    remat: bool = False
    dtype: Dtype = jnp.float32

    style = SONG_STYLE

    def fused(self) -> "UNet":
        return self.clone(fused_attention=True)

    def _check(self, z: jax.Array) -> None:
        if z.ndim != 4:
            raise ValueError(f"z has shape {z.shape}; a U-Net takes images [B, H, W, C]")
        factor = 2 ** (len(self.channel_mult) - 1)
        if z.shape[1] % factor or z.shape[2] % factor:
            raise ValueError(
                f"{len(self.channel_mult)} levels do not halve an image of {z.shape[1]} x "
                f"{z.shape[2]} evenly; choose sizes that {factor} divides or a shorter channel_mult"
            )

    def _levels(self) -> list[tuple[int, int]]:
        """Index and channels of each level, from the image's size down."""
        return [(i, self.model_channels * mult) for i, mult in enumerate(self.channel_mult)]

    def _conv(self, x: jax.Array, features: int, name: str, stride: int = 1) -> jax.Array:
        return conv3x3(features, self.dtype, self.style.kernel_init, name, stride)(x)

    def _block(self, name: str, features: int, **options: Any) -> ResBlock:
        block = nn.remat(ResBlock, static_argnums=(3,)) if self.remat else ResBlock
        return block(features, self.style, self.dropout, self.dtype, **options, name=name)

    def _attend(self, x: jax.Array, name: str) -> jax.Array:
        attention = nn.remat(Attention) if self.remat else Attention
        return attention(self.num_heads, self.style, self.fused_attention, self.dtype, name=name)(x)

    def _attend_at_resolution(self, x: jax.Array, name: str) -> jax.Array:
        return self._attend(x, name) if x.shape[1] in self.attention_resolutions else x

    def _middle(self, x: jax.Array, vector: jax.Array, train: bool) -> jax.Array:
        x = self._block("middle_block_0", x.shape[-1])(x, vector, train)
        x = self._attend(x, "middle_attention")
        return self._block("middle_block_1", x.shape[-1])(x, vector, train)

    def _head(self, x: jax.Array, channels: int, init: Initializer) -> jax.Array:
        x = nn.silu(self.style.norm(self.dtype, "out_norm")(x))
        return conv3x3(channels, self.dtype, init, "out_conv")(x).astype(jnp.float32)


class SongUNet(UNet):
    """The velocity at (z, t), or the mean velocity over [t - h, t]; nearly zero before training.

    Attributes:
      augment_dim: how many numbers describe an image's augmentation (Karras et al.,
        arXiv:2206.00364, appendix F.2); 0 for none.
      noise_mult: features of each time, in units of model_channels.
      resample_filter: smooths maps that are halved or doubled, along each axis.
    """

    augment_dim: int = 0
    noise_mult: int = 2
    resample_filter: tuple[float, ...] = (1, 3, 3, 1)

    reads = frozenset({"time", "interval", "label", "guidance"})
    sizes = SONG_SIZES

    @nn.compact
    def __call__(
        self,
        z: jax.Array,
        condition: Condition,
        train: bool = False,
        augment: jax.Array | None = None,
    ) -> jax.Array:
        """As every generator network, and with one more argument.

        Args:
          augment: float [B, augment_dim]; None, as 0, is for images that are not augmented.

        Raises:
          ValueError: an augmentation is given to a network with augment_dim 0; and as every one.
        """
        self._check(z)
        if augment is not None and not self.augment_dim:
            raise ValueError("an augmentation is given, but the network has augment_dim 0")
        vector = self._embedding(condition, len(z), augment)
        x, skips = self._down(z, vector, train)
        x = self._middle(x, vector, train)
        double = functools.partial(upsample, taps=self.resample_filter)
        for level, width in reversed(self._levels()):
            if level + 1 < len(self.channel_mult):
                name = f"up_{level}_resample"
                x = self._block(name, x.shape[-1], resample=double)(x, vector, train)
            for i in range(self.num_blocks + 1):
                x = jnp.concatenate([x, skips.pop()], axis=-1)
                x = self._block(f"up_{level}_block_{i}", width)(x, vector, train)
            x = self._attend_at_resolution(x, f"up_{level}_attention")
        return self._head(x, z.shape[-1], self.style.branch_init)

    def _embedding(self, condition: Condition, batch: int, augment: jax.Array | None) -> jax.Array:
        embedding = JointEmbedding(
            self.noise_mult * self.model_channels,
            EMBEDDING_MULT * self.model_channels,
            self.num_classes,
            self.augment_dim,
            self.style.kernel_init,
            name="embedding",
        )
        t, h = condition.times(batch)
        return nn.silu(embedding(t, h, condition.label, condition.guidance, augment))

    def _down(
        self, z: jax.Array, vector: jax.Array, train: bool
    ) -> tuple[jax.Array, list[jax.Array]]:
        """The smallest map, and every map on the way to it: one per block of the way up."""
        halve = functools.partial(downsample, taps=self.resample_filter)
        x = self._conv(z, self.model_channels, "in_conv")
        skips = [x]
        for level, width in self._levels():
            if level:
                name = f"down_{level}_resample"
                x = self._block(name, x.shape[-1], resample=halve)(x, vector, train)
                skips.append(x)
            for i in range(self.num_blocks):
                x = self._block(f"down_{level}_block_{i}", width)(x, vector, train)
                x = self._attend_at_resolution(x, f"down_{level}_attention_{i}")
                skips.append(x)
        return x, skips


class FilmUNet(UNet):
    """The velocity at (z, t), or the mean velocity over [t - h, t]; zero before training.

    Attributes:
      shared_time: one embedding for both of r = t - h and t, instead of one for t, one for h.
    """

    num_heads: int = 4
    attention_resolutions: tuple[int, ...] = (16, 8)
    shared_time: bool = False

    style = FILM_STYLE
    reads = frozenset({"time", "interval", "label"})
    sizes = FILM_SIZES

    @nn.compact
    def __call__(self, z: jax.Array, condition: Condition, train: bool = False) -> jax.Array:
        self._check(z)
        t, h = condition.times(len(z))
        vector = self._embedding(t, h, condition.label)
        x, skips = self._down(with_time_planes(z, t, h), vector, train)
        x = self._middle(x, vector, train)
        for level, width in reversed(self._levels()):
            if level + 1 < len(self.channel_mult):
                x = self._conv(nearest(x), x.shape[-1], f"up_{level}_resample")
            for i in range(self.num_blocks + (level + 1 < len(self.channel_mult))):
                x = jnp.concatenate([x, skips.pop()], axis=-1)
                x = self._block(f"up_{level}_block_{i}", width)(x, vector, train)
                x = self._attend_at_resolution(x, f"up_{level}_attention_{i}")
        return self._head(x, z.shape[-1], nn.initializers.zeros)

    def _embedding(self, t: jax.Array, h: jax.Array, label: jax.Array | None) -> jax.Array:
        embedding = PairEmbedding(
            self.model_channels,
            EMBEDDING_MULT * self.model_channels,
            self.num_classes,
            self.shared_time,
            self.style.kernel_init,
            name="embedding",
        )
        return nn.silu(embedding(t, h, label))

    def _down(
        self, x: jax.Array, vector: jax.Array, train: bool
    ) -> tuple[jax.Array, list[jax.Array]]:
        """The smallest map, and the maps before each attention and at the end of each level."""
        x = self._conv(x, self.model_channels, "in_conv")
        skips = []
        for level, width in self._levels():
            if level:
                skips.append(x)
                x = self._conv(x, x.shape[-1], f"down_{level}_resample", stride=2)
            for i in range(self.num_blocks):
                x = self._block(f"down_{level}_block_{i}", width)(x, vector, train)
                skips.append(x)
                x = self._attend_at_resolution(x, f"down_{level}_attention_{i}")
        return x, skips

"""An autoencoder with Gaussian latents: images to moments, and latents to images.

The network of latent diffusion (Rombach et al., "High-Resolution Image Synthesis with Latent
Diffusion Models", arXiv:2112.10752) in two published forms of the same blocks: that of
cfpark00/MLtools, and Stable Diffusion's.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.autoencoder_blocks import (
    ACTIVATIONS,
    DOWNSAMPLING,
    UPSAMPLING,
    Attention,
    ResBlock,
    Style,
    zeros,
)
from models.layers.convolution import torch_default
from models.layers.dense import Dense

Dtype = Any

# The attributes of published networks, and of one for two CPU cores.
VARIANTS = {
    "nano": dict(widths=(32, 64, 64), latent_channels=4, inner_channels=4),
    "mltools": dict(
        widths=(512, 256, 128), blocks_per_level=1, num_heads=4, latent_channels=32,
        inner_channels=32, logvar=True, unused_resampling=True, mltools_attention=True,
    ),
    "stable_diffusion": dict(
        widths=(128, 256, 512, 512), blocks_per_level=2, extra_decoder_blocks=1, num_heads=1,
        latent_channels=4, inner_channels=4, norm_groups=32, activation="silu",
        downsampling="conv3x3", upsampling="nearest",
    ),
}  # fmt: skip
POSITIVE = (
    "blocks_per_level", "num_heads", "latent_channels", "inner_channels", "norm_groups", "kernel",
)  # fmt: skip


class Plan(NamedTuple):
    """What an encoder or a decoder consists of, besides its resampling.

    Attributes:
      blocks: residual blocks of each level.
      attends: whether attention follows the blocks of each level.
    """

    style: Style
    widths: tuple[int, ...]
    blocks: int
    attends: tuple[bool, ...]
    middle_attention: bool
    unused_resampling: bool


class AutoencoderKL(nn.Module):
    """Encoder and decoder, which attend at the same sizes of the maps.

    Each level has half the size of the one before it; the decoder goes through them from the last
    one to the first.

    Attributes:
      channels: of the images.
      image_size: height of the images that `attention_resolutions` is about.
      widths: channels of each level; the first has the image's size.
      blocks_per_level: residual blocks of each level of the encoder.
      extra_decoder_blocks: how many more each level of the decoder has.
      attention_resolutions: heights of the maps for which self-attention follows every block.
      mltools_attention: the decoder attends where MLtools' does, which halves the size that it
        compares with attention_resolutions from level to level instead of doubling it.
      middle_attention: self-attention between the two blocks after the last level.
      num_heads: of every attention.
      latent_channels: of the latents (MLtools' embed_dim).
      inner_channels: of what the encoder's last convolution gives for the mean and for the
        log-variance, and of the decoder's input (MLtools' z_channels).
      norm_groups: groups of each norm; they must divide all widths.
      kernel: side of the convolutions of the blocks, and of the first and the last one; odd.
      activation: 'gelu' (exact) or 'silu'.
      downsampling: 'conv2x2', or 'conv3x3' with padding on the right and below.
      upsampling: 'transposed', a 2x2 convolution, or 'nearest' with a 3x3 convolution.
      logvar: the parameters contain `logvar`, the logarithm of the variance of all pixels given the
        latents, a scalar that is trained with the loss; 0 before.
      unused_resampling: the parameters contain, as MLtools' do, a downsampling for the last level
        of the encoder and an upsampling for the first level of the decoder, which nothing uses.
    """

    channels: int
    image_size: int
    widths: tuple[int, ...] = (64, 128, 128)
    blocks_per_level: int = 1
    extra_decoder_blocks: int = 0
    attention_resolutions: tuple[int, ...] = ()
    mltools_attention: bool = False
    middle_attention: bool = True
    num_heads: int = 4
    latent_channels: int = 4
    inner_channels: int = 4
    norm_groups: int = 8
    kernel: int = 3
    activation: str = "gelu"
    downsampling: str = "conv2x2"
    upsampling: str = "transposed"
    logvar: bool = False
    unused_resampling: bool = False
    dtype: Dtype = jnp.float32

    last_layer = ("decoder", "out_conv", "kernel")  # where the parameters have the decoder's last

    def setup(self) -> None:
        self._check()
        blocks, sizes = self.blocks_per_level, self._sizes()
        plan = self._plan(blocks, sizes)
        self.encoder = Encoder(plan, self.downsampling, 2 * self.inner_channels)
        if self.mltools_attention:
            sizes = self._sizes_in_mltools()
        plan = self._plan(blocks + self.extra_decoder_blocks, sizes)
        self.decoder = Decoder(plan, self.upsampling, self.channels)
        # The moments are float32, as their differences count.
        self.quant = Dense(2 * self.latent_channels, kernel_init=torch_default)
        self.post_quant = Dense(self.inner_channels, kernel_init=torch_default)
        if self.logvar:
            self.log_variance = self.param("logvar", zeros, ())

    def __call__(self, images: jax.Array) -> jax.Array:
        """The decoded means of the latents of images, as `encode` takes and `decode` gives them."""
        return self.decode(self.encode(images)[..., : self.latent_channels])

    def encode(self, images: jax.Array) -> jax.Array:
        """The moments of the latents of images [B, H, W, C] with values of any range.

        Returns:
          float32 [B, h, w, 2 latent_channels], means, then log-variances (not clipped yet, see
          drifting/core/gaussian.py), where each side is that of the images / 2^(levels - 1).

        Raises:
          ValueError: images of other channels, or of sides that the levels do not halve evenly.
        """
        self._check_images(images)
        return self.quant(self.encoder(images).astype(jnp.float32))

    def decode(self, latents: jax.Array) -> jax.Array:
        """Images float32 [B, H, W, C] of latents [B, h, w, latent_channels]; 0 before training."""
        h = self.post_quant(latents.astype(jnp.float32))
        return self.decoder(h).astype(jnp.float32)

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """The shape [h, w, latent_channels] of the latents of an image."""
        factor = 2 ** (len(self.widths) - 1)
        return height // factor, width // factor, self.latent_channels

    def _plan(self, blocks: int, sizes: list[int]) -> Plan:
        return Plan(
            Style(self.kernel, self.norm_groups, self.activation, self.num_heads, self.dtype),
            self.widths,
            blocks,
            tuple(size in self.attention_resolutions for size in sizes),
            self.middle_attention,
            self.unused_resampling,
        )

    def _sizes(self) -> list[int]:
        """The height of the maps of each level."""
        return [self.image_size // 2**level for level in range(len(self.widths))]

    def _sizes_in_mltools(self) -> list[int]:
        """What the decoder of MLtools takes for the height of each level, from the first one on."""
        last = len(self.widths) - 1
        return [self.image_size // 2 ** (2 * last - level) for level in range(last + 1)]

    def _check(self) -> None:
        options = dict(activation=ACTIVATIONS, downsampling=DOWNSAMPLING, upsampling=UPSAMPLING)
        for key, known in options.items():
            if (value := getattr(self, key)) not in known:
                raise ValueError(f"{key} {value!r} is not one of {', '.join(known)}")
        for key in POSITIVE:
            if getattr(self, key) < 1:
                raise ValueError(f"{key} = {getattr(self, key)} is not positive; set 1 or more")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel = {self.kernel} is even; choose an odd one, such as 3")
        if not self.widths or any(w < 1 or w % self.norm_groups for w in self.widths):
            raise ValueError(
                f"widths = {self.widths} must be multiples of norm_groups = {self.norm_groups}, "
                "one for each level"
            )
        sizes = self._sizes()
        if self.mltools_attention:
            sizes += self._sizes_in_mltools()
        if missing := sorted(set(self.attention_resolutions) - set(sizes)):
            raise ValueError(
                f"attention_resolutions contains {missing[0]}, but the maps of an image of height "
                f"{self.image_size} have heights {', '.join(map(str, sizes))}"
            )

    def _check_images(self, images: jax.Array) -> None:
        if images.ndim != 4 or images.shape[3] != self.channels:
            raise ValueError(f"images have shape {images.shape}, not [B, H, W, {self.channels}]")
        factor, (height, width) = 2 ** (len(self.widths) - 1), images.shape[1:3]
        if height % factor or width % factor:
            raise ValueError(
                f"{len(self.widths)} widths need image sides that are multiples of {factor}, not "
                f"{height} x {width}; change config.data.image_size or the number of "
                "config.model.widths"
            )


class Encoder(nn.Module):
    """Images [B, H, W, C] to [B, h, w, features]: 0 before training."""

    plan: Plan
    downsampling: str
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        plan, style = self.plan, self.plan.style
        x = style.conv(plan.widths[0], "in_conv")(x)
        for level, width in enumerate(plan.widths):
            x = level_blocks(plan, x, level)
            down = DOWNSAMPLING[self.downsampling](width, style.dtype, name=f"level_{level}_down")
            x = resample(plan, down, x, used=level + 1 < len(plan.widths))
        return head(style, middle(plan, x), self.features)


class Decoder(nn.Module):
    """[B, h, w, c] to images [B, H, W, features]: 0 before training."""

    plan: Plan
    upsampling: str
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        plan, style = self.plan, self.plan.style
        x = middle(plan, style.conv(plan.widths[-1], "in_conv")(x))
        for level in reversed(range(len(plan.widths))):
            x = level_blocks(plan, x, level)
            width = plan.widths[max(level - 1, 0)]
            up = UPSAMPLING[self.upsampling](width, style.dtype, name=f"level_{level}_up")
            x = resample(plan, up, x, used=level > 0)
        return head(style, x, self.features)


def level_blocks(plan: Plan, x: jax.Array, level: int) -> jax.Array:
    """The residual blocks of a level and its attentions, made inside a module."""
    for i in range(plan.blocks):
        x = ResBlock(plan.widths[level], plan.style, name=f"level_{level}_block_{i}")(x)
        if plan.attends[level]:
            x = Attention(plan.style, name=f"level_{level}_attention_{i}")(x)
    return x


def middle(plan: Plan, x: jax.Array) -> jax.Array:
    """The blocks at the smallest size, made inside a module."""
    x = ResBlock(x.shape[-1], plan.style, name="middle_block_0")(x)
    if plan.middle_attention:
        x = Attention(plan.style, name="middle_attention")(x)
    return ResBlock(x.shape[-1], plan.style, name="middle_block_1")(x)


def resample(plan: Plan, layer: nn.Module, x: jax.Array, used: bool) -> jax.Array:
    """`layer` of x where it is used; elsewhere x itself, and the parameters if they are kept."""
    if used:
        return layer(x)
    if plan.unused_resampling and layer.is_initializing():
        layer(jnp.zeros((1, 2, 2, x.shape[-1])))
    return x


def head(style: Style, x: jax.Array, features: int) -> jax.Array:
    """Norm, activation and a convolution that is 0 before training, made inside a module."""
    return style.conv(features, "out_conv", zeros)(style.activate(style.norm("out_norm")(x)))

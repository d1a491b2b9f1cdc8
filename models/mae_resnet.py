"""A residual encoder and the decoder that it is pretrained with: a masked autoencoder.

The encoder turns images into the maps on which drifting is done; its weights come from filling in
masked patches (He et al., "Masked Autoencoders Are Scalable Vision Learners", arXiv:2111.06377)
with the convolutional U-Net of Deng et al., "Generative Modeling via Drifting" (arXiv:2602.04770).
Norms are group norms, so the features of an image depend on that image alone and are the same
during and after training. They are float32 whatever `dtype` is.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.activations import Activations
from models.layers.norms import num_groups
from models.layers.patches import fold, unfold

Dtype = Any

ACTIVATIONS = {"relu": nn.relu, "gelu": functools.partial(nn.gelu, approximate=False)}

SIZES = {
    # The drifting paper's encoder, and the multi-scale one: GELU and no norms after stages. Below
    # 64 channels a stage norm would make the first stage's means constant.
    "mae_nano": dict(base_channels=16, blocks=(1, 1, 1, 1), stage_norm=False),
    "mae_resnet": dict(base_channels=64),
    # The two of the release on latents: configs/mae/latent_ablation_256.yaml and latent_640.yaml.
    "mae_256": dict(base_channels=256, blocks=(3, 4, 6, 3)),
    "mae_640": dict(base_channels=640, blocks=(3, 4, 6, 3)),
    "multiscale_64": dict(base_channels=64, stage_norm=False, activation="gelu"),
    "multiscale_128": dict(base_channels=128, stage_norm=False, activation="gelu"),
}


def group_norm(channels: int, dtype: Dtype, name: str) -> nn.GroupNorm:
    """Normalises each image's groups of channels over space, with the release's epsilon."""
    # With up to 32 channels a group is one channel, which a black border makes nearly constant:
    # mean(x^2) - mean(x)^2 would cancel there, so the variance is computed in a second pass.
    return nn.GroupNorm(
        num_groups(channels), epsilon=1e-6, use_fast_variance=False, dtype=dtype, name=name
    )


class ConvNorm(nn.Module):
    """A convolution without bias, then a norm.

    Unlike the classifiers' layer (layers/convolution.py) it has Flax's default initialisation, this
    file's norm, and no training mode.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            strides=self.stride,
            padding=self.kernel // 2,
            use_bias=False,
            dtype=self.dtype,
            name="conv",
        )
        return group_norm(self.features, self.dtype, "norm")(conv(x))


class Block(nn.Module):
    """A basic residual block; the skip connection is projected if the block changes the shape."""

    features: int
    stride: int
    activation: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        activate = ACTIVATIONS[self.activation]
        layer = functools.partial(ConvNorm, self.features, dtype=self.dtype)
        h = activate(layer(stride=self.stride, name="first")(x))
        h = layer(name="second")(h)
        if x.shape != h.shape:
            x = layer(kernel=1, stride=self.stride, name="projection")(x)
        return activate(h + x)


class Encoder(nn.Module):
    """A stem, then stages that each double the width and halve the side: all maps by name."""

    base_channels: int
    blocks: tuple[int, ...]
    stage_norm: bool
    activation: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        x = ConvNorm(self.base_channels, dtype=self.dtype, name="stem")(x)
        maps = {"stem": ACTIVATIONS[self.activation](x)}
        x = maps["stem"]
        for i, count in enumerate(self.blocks, start=1):
            for j in range(1, count + 1):
                stride = 2 if i > 1 and j == 1 else 1
                name = f"stage{i}_block{j}"
                width = self.base_channels * 2 ** (i - 1)
                x = Block(width, stride, self.activation, self.dtype, name=name)(x)
                maps[name] = x
            if self.stage_norm:
                x = group_norm(x.shape[-1], self.dtype, f"stage{i}_norm")(x)
            maps[f"stage{i}"] = x
        return maps


class UpBlock(nn.Module):
    """Resizes x to the skip's size, concatenates the two and convolves to the skip's width."""

    activation: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, skip: jax.Array) -> jax.Array:
        activate = ACTIVATIONS[self.activation]
        width = skip.shape[-1]
        x = jax.image.resize(x, (*skip.shape[:3], x.shape[-1]), "bilinear")
        x = jnp.concatenate([x, skip], axis=-1)
        x = group_norm(x.shape[-1], self.dtype, "norm")(x)
        x = activate(ConvNorm(width, dtype=self.dtype, name="first")(x))
        return activate(ConvNorm(width, dtype=self.dtype, name="second")(x))


class Decoder(nn.Module):
    """From the last stage's map up through all other maps to the stem's: [B, h, w, features]."""

    features: int
    stages: int
    activation: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, maps: dict[str, jax.Array]) -> jax.Array:
        deepest = maps[f"stage{self.stages}"]
        x = ConvNorm(deepest.shape[-1], dtype=self.dtype, name="bridge")(deepest)
        x = ACTIVATIONS[self.activation](x)
        for skip in [f"stage{i}" for i in range(self.stages - 1, 0, -1)] + ["stem"]:
            x = UpBlock(self.activation, self.dtype, name=f"up_to_{skip}")(x, maps[skip])
        return nn.Conv(self.features, (1, 1), dtype=self.dtype, name="head")(x)


class MaskedAutoencoder(nn.Module):
    """Features of an image, and its reconstruction.

    Only `init(key, x, train, method="reconstruct")` creates the decoder's parameters; `__call__`
    does not need them.

    Attributes:
      num_classes: classes of the classifier on the last stage's mean.
      channels: channels of the images.
      base_channels: width of the stem and the first stage; each later stage doubles it.
      blocks: residual blocks of each stage.
      input_patch_size: side of the patches that are folded into channels before the stem.
      stage_norm: each stage ends in a norm, whose output is the next stage's input. In a stage of
        at most 32 channels each channel is its own group, so its mean over space is the norm's bias
        for every image; with 64 base channels or more all means depend on the image.
      activation: "relu" or "gelu" (exact).
    """

    num_classes: int
    channels: int
    base_channels: int = 64
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    input_patch_size: int = 1
    stage_norm: bool = True
    activation: str = "relu"
    dtype: Dtype = jnp.float32

    sizes = SIZES

    def setup(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"unknown activation {self.activation!r}; use one of {', '.join(ACTIVATIONS)}"
            )
        self.encoder = Encoder(
            self.base_channels, self.blocks, self.stage_norm, self.activation, self.dtype
        )
        self.classifier = nn.Dense(self.num_classes)
        self.decoder = Decoder(
            self.channels * self.input_patch_size**2,
            len(self.blocks),
            self.activation,
            self.dtype,
        )

    def __call__(self, x: jax.Array, train: bool) -> Activations:
        """Logits and maps of x [B, H, W, C]; stage i's map has side H / (p * 2^(i-1)), rounded up.

        `train` has no effect; every encoder has it.

        Raises:
          ValueError: x has another number of channels, or input_patch_size does not divide H and W.
        """
        self._check(x)
        maps = self.encoder(fold(x, self.input_patch_size))
        pooled = jnp.mean(maps[f"stage{len(self.blocks)}"], axis=(1, 2), dtype=jnp.float32)
        return Activations(self.classifier(pooled), pooled, maps)

    def reconstruct(self, x: jax.Array, train: bool) -> tuple[jax.Array, Activations]:
        """Images float32 [B, H, W, C] from x [B, H, W, C], whose masked places are already zero.

        Also returns the activations of x, for a classification loss in addition to the one on its
        pixels. Raises as `__call__` does.
        """
        activations = self(x, train)
        folded = self.decoder(activations.maps)
        return unfold(folded, self.input_patch_size).astype(jnp.float32), activations

    def _check(self, x: jax.Array) -> None:
        if x.ndim != 4 or x.shape[3] != self.channels:
            raise ValueError(f"x has shape {x.shape}, expected [B, H, W, {self.channels}]")
        if x.shape[1] % self.input_patch_size or x.shape[2] % self.input_patch_size:
            raise ValueError(
                f"input_patch_size {self.input_patch_size} does not divide images of "
                f"{x.shape[1]}x{x.shape[2]}: choose a divisor of both sides"
            )

"""DriftDiT, the one-step generator of the drifting models: noise, label and style to an image.

A diffusion transformer (Peebles and Xie, arXiv:2212.09748) without a time input, with register
tokens (arXiv:2309.16588), rotary positions (arXiv:2104.09864), RMSNorm, query-key norm
(arXiv:2302.05442) and SwiGLU (arXiv:2002.05202), as in Deng et al., "Generative Modeling via
Drifting" (arXiv:2602.04770).

Tokens are flattened to [B * T, D] before every dense layer: on a CPU that halves the time of the
weight gradients, elsewhere it costs nothing. Norms and softmax are float32 whatever `dtype` is.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.attention import attend

Dtype = Any

FOURIER_FEATURES = 256
FOURIER_MAX_PERIOD = 10.0
STYLE_TOKENS = 32
STYLE_CODES = 64

SIZES = {
    # name: hidden size, depth, heads (head dimension 64 for Tiny and Small)
    "nano": dict(hidden_size=64, depth=4, num_heads=2),
    "tiny": dict(hidden_size=256, depth=6, num_heads=4),
    "small": dict(hidden_size=384, depth=8, num_heads=6),
}


def fourier_features(
    value: jax.Array, features: int = FOURIER_FEATURES, max_period: float = FOURIER_MAX_PERIOD
) -> jax.Array:
    """Cosines, then sines, of `value` [B] at geometric frequencies 1 to 1/max_period: [B, F]."""
    half = features // 2
    frequencies = jnp.exp(-jnp.log(max_period) * jnp.arange(half, dtype=jnp.float32) / half)
    angles = value.astype(jnp.float32)[:, None] * frequencies[None, :]
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def rotate(x: jax.Array) -> jax.Array:
    """Rotary position embedding of x [B, T, H, D] at positions 0 to T - 1, halves rotated."""
    tokens, dimension = x.shape[1], x.shape[3]
    half = dimension // 2
    frequencies = 1.0 / 10000.0 ** (jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.arange(tokens, dtype=jnp.float32)[:, None] * frequencies[None, :]  # [T, D/2]
    cos, sin = jnp.cos(angles)[None, :, None, :], jnp.sin(angles)[None, :, None, :]
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def modulate(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """x [B, T, D] times (1 + scale) plus shift, both [B, D]."""
    return x * (1 + scale[:, None, :]) + shift[:, None, :]


class Dense(nn.Module):
    """A dense layer that sees [B, T, D] as [B * T, D]."""

    features: int
    use_bias: bool = True
    dtype: Dtype = jnp.float32
    kernel_init: Any = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layer = nn.Dense(
            self.features,
            use_bias=self.use_bias,
            dtype=self.dtype,
            kernel_init=self.kernel_init,
            name="dense",
        )
        flat = x.reshape(-1, x.shape[-1])
        return layer(flat).reshape(*x.shape[:-1], self.features)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + 1e-6) * weight over the last axis, in float32."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        weight = self.param("weight", nn.initializers.ones, (x.shape[-1],))
        x = x.astype(jnp.float32)
        normed = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)
        return (normed * jnp.broadcast_to(weight, x.shape)).astype(self.dtype)


class Attention(nn.Module):
    """Multi-head self-attention with query-key norm, then rotary positions."""

    num_heads: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, tokens, width = x.shape
        head = width // self.num_heads
        qkv = Dense(3 * width, use_bias=False, dtype=self.dtype, name="qkv")(x)
        q, k, v = jnp.moveaxis(qkv.reshape(batch, tokens, 3, self.num_heads, head), 2, 0)
        q = rotate(RMSNorm(name="q_norm")(q)).astype(self.dtype)
        k = rotate(RMSNorm(name="k_norm")(k)).astype(self.dtype)
        out = attend(q, k, v).reshape(x.shape)
        return Dense(width, dtype=self.dtype, name="proj")(out)


class SwiGLU(nn.Module):
    """w2(silu(w1 x) * w3 x)."""

    hidden_size: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        gate = Dense(self.hidden_size, use_bias=False, dtype=self.dtype, name="w1")(x)
        value = Dense(self.hidden_size, use_bias=False, dtype=self.dtype, name="w3")(x)
        hidden = nn.silu(gate) * value
        return Dense(x.shape[-1], use_bias=False, dtype=self.dtype, name="w2")(hidden)


class Modulation(nn.Module):
    """adaLN-Zero: `parts` vectors [B, D] from the conditioning [B, D], zero at the start."""

    parts: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, condition: jax.Array) -> list[jax.Array]:
        width = condition.shape[-1]
        zeros = nn.initializers.zeros
        out = Dense(self.parts * width, dtype=self.dtype, kernel_init=zeros, name="linear")(
            nn.silu(condition)
        )
        return jnp.split(out, self.parts, axis=-1)


class Block(nn.Module):
    """One transformer block: attention and SwiGLU, each modulated and gated by the condition."""

    num_heads: int
    mlp_ratio: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        parts = Modulation(6, dtype=self.dtype, name="modulation")(condition)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = parts
        h = modulate(RMSNorm(self.dtype, name="norm1")(x), shift_a, scale_a)
        h = Attention(self.num_heads, dtype=self.dtype, name="attention")(h)
        x = x + gate_a[:, None, :] * h
        h = modulate(RMSNorm(self.dtype, name="norm2")(x), shift_m, scale_m)
        h = SwiGLU(self.mlp_ratio * x.shape[-1], dtype=self.dtype, name="mlp")(h)
        return x + gate_m[:, None, :] * h


class Conditioning(nn.Module):
    """class + cfg_scale + style -> [B, D]. Label `num_classes` is the null class."""

    num_classes: int
    hidden_size: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, labels: jax.Array, cfg_scale: jax.Array, style: jax.Array) -> jax.Array:
        normal = nn.initializers.normal(0.02)
        table = functools.partial(nn.Embed, features=self.hidden_size, embedding_init=normal)
        embed = table(self.num_classes + 1, name="label")
        codebook = table(STYLE_CODES, name="style")
        scale = fourier_features(cfg_scale).astype(self.dtype)
        scale = Dense(self.hidden_size, dtype=self.dtype, kernel_init=normal, name="cfg_in")(scale)
        scale = Dense(self.hidden_size, dtype=self.dtype, kernel_init=normal, name="cfg_out")(
            nn.silu(scale)
        )
        # The sum of 32 rows as counts times the codebook: a matrix product, no [B, 32, D] gather.
        counts = jnp.sum(jax.nn.one_hot(style, STYLE_CODES, dtype=self.dtype), axis=1)
        return embed(labels).astype(self.dtype) + scale + counts @ codebook.embedding.astype(
            self.dtype
        )


class DriftDiT(nn.Module):
    """One forward pass from noise to an image.

    Attributes:
      image_size, channels: of the image, which is square.
      patch_size: side of a patch; divides image_size.
      num_classes: label `num_classes` is the null class of classifier-free guidance.
      num_registers: tokens put before the patches and dropped at the end.
    """

    image_size: int
    channels: int
    num_classes: int
    patch_size: int = 4
    hidden_size: int = 256
    depth: int = 6
    num_heads: int = 4
    mlp_ratio: int = 4
    num_registers: int = 8
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, noise: jax.Array, labels: jax.Array, cfg_scale: jax.Array, style: jax.Array
    ) -> jax.Array:
        """Images float32 [B, S, S, C] from noise [B, S, S, C].

        Args:
          labels: int32 [B], 0 to num_classes (the null class).
          cfg_scale: float [B], the guidance strength as a condition.
          style: int32 [B, 32], indices into a codebook of 64.

        Raises:
          ValueError: the noise has another shape, or the patch does not divide the image.
        """
        self._check(noise)
        batch = noise.shape[0]
        condition = Conditioning(
            self.num_classes, self.hidden_size, dtype=self.dtype, name="conditioning"
        )(labels, cfg_scale, style)
        x = Dense(self.hidden_size, dtype=self.dtype, name="patch_embed")(
            patchify(noise, self.patch_size)
        )
        registers = self.param(
            "registers", nn.initializers.normal(0.02), (1, self.num_registers, self.hidden_size)
        )
        registers = jnp.broadcast_to(registers, (batch, *registers.shape[1:])).astype(self.dtype)
        x = jnp.concatenate([registers, x], axis=1)
        for i in range(self.depth):
            x = Block(self.num_heads, self.mlp_ratio, dtype=self.dtype, name=f"block_{i}")(
                x, condition
            )
        x = x[:, self.num_registers :]
        shift, scale = Modulation(2, dtype=self.dtype, name="final_modulation")(condition)
        x = modulate(RMSNorm(self.dtype, name="final_norm")(x), shift, scale)
        # Not zero at the start: equal samples have no drift apart, so they would stay equal.
        x = Dense(self.patch_size**2 * self.channels, dtype=self.dtype, name="final_linear")(x)
        return unpatchify(x, self.patch_size, self.image_size).astype(jnp.float32)

    def _check(self, noise: jax.Array) -> None:
        expected = (self.image_size, self.image_size, self.channels)
        if noise.shape[1:] != expected:
            raise ValueError(f"noise has shape {noise.shape}, expected [B, {expected}]")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"patch size {self.patch_size} does not divide image size {self.image_size}"
            )


def patchify(images: jax.Array, patch: int) -> jax.Array:
    """[B, S, S, C] to tokens [B, (S/p)^2, p * p * C], row-major, channels last in a patch."""
    batch, size, _, channels = images.shape
    grid = size // patch
    x = images.reshape(batch, grid, patch, grid, patch, channels)
    return jnp.swapaxes(x, 2, 3).reshape(batch, grid * grid, patch * patch * channels)


def unpatchify(tokens: jax.Array, patch: int, size: int) -> jax.Array:
    """The inverse of `patchify`: [B, (S/p)^2, p * p * C] to [B, S, S, C]."""
    batch, grid = tokens.shape[0], size // patch
    x = tokens.reshape(batch, grid, grid, patch, patch, -1)
    return jnp.swapaxes(x, 2, 3).reshape(batch, size, size, -1)

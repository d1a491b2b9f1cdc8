"""DiT, the diffusion transformer of flow matching and MeanFlow: a noisy image to a velocity.

Peebles and Xie, "Scalable Diffusion Models with Transformers" (arXiv:2212.09748), with a second
time input, the length h = t - r of the interval (Geng et al., "Mean Flows for One-step Generative
Modeling", arXiv:2505.13447). The defaults are the release of that paper; the other values of
`position`, `time_planes` and `shared_time` give the network of kylevedder/DenoisingZoo.

Every operation has a forward-mode derivative and a reverse-mode one of that, as MeanFlow needs
both. Norms, softmax and the conditioning are float32 whatever `dtype` is.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.conditions import Condition, GeneratorNetwork
from models.layers.attention import attend, split_heads
from models.layers.dense import Dense
from models.layers.embeddings import Conditioning, normal, with_time_planes
from models.layers.modulation import Modulation, modulate
from models.layers.patches import patchify, unpatchify
from models.layers.positions import sincos_table

Dtype = Any

POSITIONS = ("sincos", "learned")

SIZES = {
    # nano is for two CPU cores; the others are the paper's, and M the release's between B and L
    "nano": dict(hidden_size=64, depth=4, num_heads=2),
    "S": dict(hidden_size=384, depth=12, num_heads=6),
    "B": dict(hidden_size=768, depth=12, num_heads=12),
    "M": dict(hidden_size=1024, depth=16, num_heads=16),
    "L": dict(hidden_size=1024, depth=24, num_heads=16),
    "XL": dict(hidden_size=1152, depth=28, num_heads=16),
}

layer_norm = functools.partial(nn.LayerNorm, epsilon=1e-6, use_bias=False, use_scale=False)


class Attention(nn.Module):
    """Multi-head self-attention of [B, T, D]."""

    num_heads: int
    fused: bool
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        qkv = Dense(3 * width, dtype=self.dtype, name="qkv")(x)
        out = attend(*split_heads(qkv, self.num_heads), fused=self.fused)  # [B, T, H, D / H]
        return Dense(width, dtype=self.dtype, name="proj")(out.reshape(x.shape))


class Block(nn.Module):
    """Attention and a GELU MLP, each normalised, modulated and gated by the condition [B, D]."""

    num_heads: int
    mlp_ratio: int
    fused_attention: bool
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        parts = Modulation(6, dtype=self.dtype, name="modulation")(condition)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = parts
        width = x.shape[-1]
        h = modulate(layer_norm(dtype=self.dtype, name="norm1")(x), shift_a, scale_a)
        h = Attention(self.num_heads, self.fused_attention, self.dtype, name="attention")(h)
        x = x + gate_a[:, None, :] * h
        h = modulate(layer_norm(dtype=self.dtype, name="norm2")(x), shift_m, scale_m)
        h = Dense(self.mlp_ratio * width, dtype=self.dtype, name="mlp_in")(h)
        h = Dense(width, dtype=self.dtype, name="mlp_out")(nn.gelu(h, approximate=True))
        return x + gate_m[:, None, :] * h


class DiT(GeneratorNetwork):
    """The velocity at (z, t), or the mean velocity over [t - h, t]; zero before training.

    Images or latents z [B, S, S, C] are square.

    Attributes:
      patch_size: side of a patch; divides S.
      position: 'sincos', a fixed table, or 'learned', a parameter.
      time_planes: two constant planes, r = t - h and t, are appended to the image's channels.
      shared_time: see `Conditioning`.
      fused_attention: see `attend`; `fused()` turns it on.
      remat: blocks are recomputed in the backward pass instead of kept in memory.
    """

    patch_size: int = 2
    hidden_size: int = 384
    depth: int = 12
    num_heads: int = 6
    mlp_ratio: int = 4
    position: str = "sincos"
    time_planes: bool = False
    shared_time: bool = False
    fused_attention: bool = False
    remat: bool = False
    dtype: Dtype = jnp.float32

    reads = frozenset({"time", "interval", "label", "guidance"})
    sizes = SIZES

    def fused(self) -> "DiT":
        return self.clone(fused_attention=True)

    @nn.compact
    def __call__(self, z: jax.Array, condition: Condition, train: bool = False) -> jax.Array:
        t, h = condition.times(len(z))
        x = self._embed(z, t, h)
        vector = Conditioning(
            self.num_classes, self.hidden_size, self.shared_time, name="conditioning"
        )(t, h, condition.label, condition.guidance)
        block = nn.remat(Block) if self.remat else Block
        for i in range(self.depth):
            x = block(
                self.num_heads, self.mlp_ratio, self.fused_attention, self.dtype, name=f"block_{i}"
            )(x, vector)
        shift, scale = Modulation(2, dtype=self.dtype, name="final_modulation")(vector)
        x = modulate(layer_norm(dtype=self.dtype, name="final_norm")(x), shift, scale)
        outputs = self.patch_size**2 * z.shape[-1]
        zeros = nn.initializers.zeros
        x = Dense(outputs, dtype=self.dtype, kernel_init=zeros, name="final_linear")(x)
        return unpatchify(x, self.patch_size, z.shape[1]).astype(jnp.float32)

    def _embed(self, z: jax.Array, t: jax.Array, h: jax.Array) -> jax.Array:
        """Patches with their positions [B, T, D]."""
        if self.time_planes:
            z = with_time_planes(z, t, h)
        x = patchify(z, self.patch_size)
        x = Dense(self.hidden_size, dtype=self.dtype, name="patch_embed")(x)
        shape = (1, x.shape[1], self.hidden_size)
        if self.position == "learned":
            table = self.param("position", normal, shape)
        elif self.position == "sincos":
            grid = z.shape[1] // self.patch_size
            table = sincos_table(grid, self.hidden_size).reshape(shape)  # [1, T, D]
        else:
            raise ValueError(f"position {self.position!r} is not one of {', '.join(POSITIONS)}")
        return x + jnp.asarray(table, self.dtype)

"""The generator of lambertae/drifting: noise, label, guidance and style to latents or images.

Deng et al., "Generative Modeling via Drifting" (arXiv:2602.04770); the network is DitGen of the
release's models/generator.py, a LightningDiT (arXiv:2501.01423). Beyond the `drift_dit` of
jaysarva/drifting-model, its condition also enters as tokens, each style token has its own table,
positions are a trained table as well as rotary, and the guidance scale has a small weight.

Norms, softmax and the conditioning are float32 whatever `dtype` is.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.conditions import STYLE_CODES, Condition, GeneratorNetwork
from models.layers.dense import Dense
from models.layers.embeddings import TwoLayers, label_row, normal, time_features
from models.layers.norms import RMSNorm
from models.layers.patches import patchify
from models.layers.positions import sincos_table
from models.layers.transformer import Block, to_images

Dtype = Any

GUIDANCE_WEIGHT = 0.02  # of the normed embedding of the guidance scale
MLP_MULTIPLE = 32  # to which the hidden width of a SwiGLU is rounded up

SIZES = {
    # nano is for two CPU cores; B and L are those of the release's configs/gen/latent_*.yaml
    "nano": dict(hidden_size=64, depth=4, num_heads=2, num_class_tokens=4),
    "B": dict(hidden_size=768, depth=12, num_heads=12),
    "L": dict(hidden_size=1024, depth=24, num_heads=16),
}


class Conditioning(nn.Module):
    """The sum of the embeddings of a condition's fields, float32 [B, width].

    Attributes:
      style_codes: values that a style token can have.
    """

    num_classes: int
    width: int
    style_codes: int = STYLE_CODES

    @nn.compact
    def __call__(self, condition: Condition, batch: int) -> jax.Array:
        total = jnp.zeros((batch, self.width))
        if self.num_classes:
            total += label_row(condition.label, self.num_classes, self.width)
        if condition.style is not None:
            total += self._style(condition.style)
        if condition.guidance is not None:
            # The features are those of a time: the scale varies by less than their longest period.
            embed = TwoLayers(self.width, normal, name="guidance")
            row = RMSNorm(name="guidance_norm")(embed(time_features(condition.guidance)))
            total += GUIDANCE_WEIGHT * row
        return total

    def _style(self, style: jax.Array) -> jax.Array:
        """The sum [B, width] of one row from each token's own table, as a matrix product."""
        shape = (style.shape[1], self.style_codes, self.width)  # [T, K, E]
        tables = self.param("style", normal, shape)
        chosen = jax.nn.one_hot(style, self.style_codes)  # [B, T, K]
        return jnp.einsum("btk,tke->be", chosen, tables)


class DriftDiTLatent(GeneratorNetwork):
    """One forward pass from noise to square latents or images [B, S, S, C]; zero before training.

    The first step of training moves all samples alike, but each by its own tokens, so they part.

    Label `num_classes` has a row of its own, which the release lacks.

    Attributes:
      patch_size: side of a patch; divides S.
      num_class_tokens: tokens made of the condition, put before the patches, dropped at the end.
      condition_size: width of the condition; None: hidden_size.
      style_codes: values that a style token can have.
      norm: 'rms' or 'layer', also of queries and keys.
      qk_norm: whether queries and keys are normed.
      swiglu: the MLPs are SwiGLUs of two thirds of the width instead of exact GELUs.
      rotary: queries and keys are rotated by the positions of all tokens.
      fused_attention: see `attend`; `fused()` turns it on.
      remat: blocks are recomputed in the backward pass instead of kept in memory.
    """

    patch_size: int = 2
    hidden_size: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: int = 4
    num_class_tokens: int = 16
    condition_size: int | None = None
    style_codes: int = STYLE_CODES
    norm: str = "rms"
    qk_norm: bool = True
    swiglu: bool = True
    rotary: bool = True
    fused_attention: bool = False
    remat: bool = False
    dtype: Dtype = jnp.float32

    reads = frozenset({"label", "guidance", "style"})
    sizes = SIZES

    def fused(self) -> "DriftDiTLatent":
        return self.clone(fused_attention=True)

    @nn.compact
    def __call__(self, z: jax.Array, condition: Condition, train: bool = False) -> jax.Array:
        vector = Conditioning(
            self.num_classes,
            self.condition_size or self.hidden_size,
            self.style_codes,
            name="conditioning",
        )(condition, len(z))
        x = self._embed(z, vector)
        block = nn.remat(Block) if self.remat else Block
        for i in range(self.depth):
            x = block(
                num_heads=self.num_heads,
                mlp_size=self._mlp_size(),
                mlp="swiglu" if self.swiglu else "gelu",
                norm=self.norm,
                qk_norm=self.norm if self.qk_norm else None,
                rotary=self.rotary,
                fused_attention=self.fused_attention,
                dtype=self.dtype,
                name=f"block_{i}",
            )(x, vector)
        x = x[:, self.num_class_tokens :]
        zeros = nn.initializers.zeros
        return to_images(x, vector, z.shape, self.patch_size, self.norm, zeros, self.dtype)

    def _mlp_size(self) -> int:
        width = self.mlp_ratio * self.hidden_size
        return -(-(2 * width // 3) // MLP_MULTIPLE) * MLP_MULTIPLE if self.swiglu else width

    def _embed(self, z: jax.Array, vector: jax.Array) -> jax.Array:
        """The condition's tokens, then patches with their positions, [B, T, D]."""
        x = patchify(z, self.patch_size)
        x = Dense(self.hidden_size, dtype=self.dtype, name="patch_embed")(x)
        grid = z.shape[1] // self.patch_size
        table = self.param("position", lambda key: sincos_table(grid, self.hidden_size)[None])
        x = x + jnp.asarray(table, self.dtype)
        if not self.num_class_tokens:
            return x
        row = Dense(self.hidden_size, dtype=self.dtype, name="class_embed")(vector)  # [B, D]
        shape = (1, self.num_class_tokens, self.hidden_size)
        tokens = row[:, None, :] + self.param("class_tokens", normal, shape).astype(self.dtype)
        return jnp.concatenate([tokens, x], axis=1)

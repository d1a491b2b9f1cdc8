"""DriftDiT, the one-step generator of the drifting models: noise, label and style to an image.

A diffusion transformer (Peebles and Xie, arXiv:2212.09748) with register tokens
(arXiv:2309.16588), rotary positions (arXiv:2104.09864), RMSNorm, query-key norm (arXiv:2302.05442)
and SwiGLU (arXiv:2002.05202), as in Deng et al., "Generative Modeling via Drifting"
(arXiv:2602.04770). The network of that paper has no time input; given times, this one embeds them.

Norms and softmax are float32 whatever `dtype` is.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.conditions import Condition, GeneratorNetwork
from models.layers.dense import Dense
from models.layers.embeddings import (
    TwoLayers,
    guidance_features,
    label_row,
    normal,
    style_row,
    time_features,
)
from models.layers.patches import patchify
from models.layers.transformer import Block, to_images

Dtype = Any

SIZES = {
    # name: hidden size, depth, heads (head dimension 64 for Tiny and Small)
    "nano": dict(hidden_size=64, depth=4, num_heads=2),
    "tiny": dict(hidden_size=256, depth=6, num_heads=4),
    "small": dict(hidden_size=384, depth=8, num_heads=6),
}


class Conditioning(nn.Module):
    """The sum of the embeddings of a condition's fields, [B, hidden_size].

    Unlike the DiT's, whose times are always given and whose numbers are float32 throughout.
    """

    num_classes: int
    hidden_size: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, condition: Condition, batch: int) -> jax.Array:
        total = jnp.zeros((batch, self.hidden_size), self.dtype)
        if self.num_classes:
            row = label_row(condition.label, self.num_classes, self.hidden_size)
            total += row.astype(self.dtype)
        if condition.guidance is not None:
            total += self._guidance(condition.guidance)
        if condition.style is not None:
            total += style_row(condition.style, self.hidden_size, self.dtype)
        for name, time in (("t_embed", condition.time), ("h_embed", condition.interval)):
            if time is not None:  # from here on float32, as MeanFlow needs it
                total += TwoLayers(self.hidden_size, normal, name=name)(time_features(time))
        return total

    def _guidance(self, guidance: jax.Array) -> jax.Array:
        def layer(name: str) -> Dense:
            return Dense(self.hidden_size, dtype=self.dtype, kernel_init=normal, name=name)

        features = guidance_features(guidance).astype(self.dtype)
        return layer("cfg_out")(nn.silu(layer("cfg_in")(features)))


class DriftDiT(GeneratorNetwork):
    """One forward pass from noise to square images [B, S, S, C].

    Attributes:
      patch_size: side of a patch; divides S.
      num_registers: tokens put before the patches and dropped at the end.
    """

    patch_size: int = 4
    hidden_size: int = 256
    depth: int = 6
    num_heads: int = 4
    mlp_ratio: int = 4
    num_registers: int = 8
    dtype: Dtype = jnp.float32

    reads = frozenset({"time", "interval", "label", "guidance", "style"})
    sizes = SIZES

    @nn.compact
    def __call__(self, z: jax.Array, condition: Condition, train: bool = False) -> jax.Array:
        x = self._embed(z)
        vector = Conditioning(
            self.num_classes, self.hidden_size, dtype=self.dtype, name="conditioning"
        )(condition, len(z))
        for i in range(self.depth):
            x = Block(
                num_heads=self.num_heads,
                mlp_size=self.mlp_ratio * self.hidden_size,
                mlp="swiglu",
                norm="rms",
                use_bias=False,
                qk_norm="rms",
                rotary=True,
                dtype=self.dtype,
                name=f"block_{i}",
            )(x, vector)
        x = x[:, self.num_registers :]  # [B, (S / p)^2, D]
        # Not zero at initialisation: equal samples do not drift apart, so they would stay equal.
        init = nn.initializers.xavier_uniform()
        return to_images(x, vector, z.shape, self.patch_size, "rms", init, self.dtype)

    def _embed(self, z: jax.Array) -> jax.Array:
        """Registers, then patches, [B, T, D]."""
        x = patchify(z, self.patch_size)
        x = Dense(self.hidden_size, dtype=self.dtype, name="patch_embed")(x)
        registers = self.param("registers", normal, (1, self.num_registers, self.hidden_size))
        registers = jnp.broadcast_to(registers, (len(z), *registers.shape[1:])).astype(self.dtype)
        return jnp.concatenate([registers, x], axis=1)

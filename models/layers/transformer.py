"""What the diffusion transformers share: blocks that a condition modulates, and the last layer.

Peebles and Xie, "Scalable Diffusion Models with Transformers" (arXiv:2212.09748), with the options
of later ones: rotary positions (arXiv:2104.09864), RMSNorm, query-key norm (arXiv:2302.05442) and
SwiGLU (arXiv:2002.05202). Norms and softmax are float32 whatever `dtype` is.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.layers.attention import attend, split_heads
from models.layers.dense import Dense
from models.layers.modulation import Modulation, modulate
from models.layers.norms import token_norm
from models.layers.patches import unpatchify
from models.layers.positions import rotate

Dtype = Any


class Attention(nn.Module):
    """Multi-head self-attention of [B, T, D].

    Attributes:
      use_bias: of queries, keys and values.
      qk_norm: a kind of `token_norm`, with parameters, for the queries and keys of each head; None
        for no norm.
      rotary: queries and keys are then rotated by their positions, 0 to T - 1.
      fused: see `attend`.
    """

    num_heads: int
    use_bias: bool = True
    qk_norm: str | None = None
    rotary: bool = False
    fused: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        qkv = Dense(3 * width, use_bias=self.use_bias, dtype=self.dtype, name="qkv")(x)
        q, k, v = split_heads(qkv, self.num_heads)  # [B, T, H, D / H]
        if self.qk_norm:
            q = token_norm(self.qk_norm, jnp.float32, "q_norm", parameters=True)(q)
            k = token_norm(self.qk_norm, jnp.float32, "k_norm", parameters=True)(k)
        if self.rotary:
            q, k = rotate(q), rotate(k)
        out = attend(q.astype(self.dtype), k.astype(self.dtype), v, fused=self.fused)
        return Dense(width, dtype=self.dtype, name="proj")(out.reshape(x.shape))


class SwiGLU(nn.Module):
    """w2(silu(w1 x) * w3 x)."""

    hidden_size: int
    use_bias: bool = True
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def layer(features: int, name: str) -> Dense:
            return Dense(features, use_bias=self.use_bias, dtype=self.dtype, name=name)

        hidden = nn.silu(layer(self.hidden_size, "w1")(x)) * layer(self.hidden_size, "w3")(x)
        return layer(x.shape[-1], "w2")(hidden)


class Block(nn.Module):
    """Attention and an MLP, each normalised, modulated and gated by the condition [B, E].

    Attributes:
      mlp_size: hidden width of the MLP.
      mlp: 'swiglu', 'gelu' (exact) or 'gelu_tanh' (its approximation).
      norm: a kind of `token_norm`.
      use_bias: of queries, keys and values, and of a SwiGLU; other layers have theirs.
    """

    num_heads: int
    mlp_size: int
    mlp: str
    norm: str
    use_bias: bool = True
    qk_norm: str | None = None
    rotary: bool = False
    fused_attention: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        parts = Modulation(6, x.shape[-1], dtype=self.dtype, name="modulation")(condition)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = parts
        h = modulate(token_norm(self.norm, self.dtype, "norm1")(x), shift_a, scale_a)
        h = Attention(
            self.num_heads, self.use_bias, self.qk_norm, self.rotary, self.fused_attention,
            self.dtype, name="attention",
        )(h)  # fmt: skip
        x = x + gate_a[:, None, :] * h
        h = modulate(token_norm(self.norm, self.dtype, "norm2")(x), shift_m, scale_m)
        return x + gate_m[:, None, :] * self._mlp(h)

    def _mlp(self, h: jax.Array) -> jax.Array:
        width = h.shape[-1]
        if self.mlp == "swiglu":
            return SwiGLU(self.mlp_size, self.use_bias, self.dtype, name="mlp")(h)
        h = Dense(self.mlp_size, dtype=self.dtype, name="mlp_in")(h)
        h = nn.gelu(h, approximate=self.mlp == "gelu_tanh")
        return Dense(width, dtype=self.dtype, name="mlp_out")(h)


def to_images(
    x: jax.Array,
    condition: jax.Array,
    shape: tuple[int, ...],
    patch: int,
    norm: str,
    kernel_init: nn.initializers.Initializer,
    dtype: Dtype,
) -> jax.Array:
    """Tokens [B, (S/p)^2, D], normalised, modulated and projected, as float32 [B, S, S, C].

    Creates its layers in the calling module.

    Args:
      shape: [B, S, S, C].
      norm: a kind of `token_norm`.
      kernel_init: of the projection.
    """
    shift, scale = Modulation(2, x.shape[-1], dtype=dtype, name="final_modulation")(condition)
    x = modulate(token_norm(norm, dtype, "final_norm")(x), shift, scale)
    values = patch**2 * shape[-1]
    x = Dense(values, dtype=dtype, kernel_init=kernel_init, name="final_linear")(x)
    return unpatchify(x, patch, shape[1]).astype(jnp.float32)

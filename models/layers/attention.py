"""Attention over tokens, plain or fused."""

from typing import Any

import jax
import jax.numpy as jnp

# cuDNN's flash attention: 16-bit inputs, head dimensions that are multiples of 8 up to 128 (up to
# 256 only on Hopper and later).
FUSED_DTYPES = (jnp.float16, jnp.bfloat16)
FUSED_HEAD_MULTIPLE = 8
FUSED_HEAD_MAX = 128


def can_fuse(backend: str, dtype: Any, head_dim: int) -> bool:
    """Whether cuDNN's kernel supports heads of this type and size on this JAX backend."""
    fits = head_dim % FUSED_HEAD_MULTIPLE == 0 and head_dim <= FUSED_HEAD_MAX
    return backend == "gpu" and any(dtype == d for d in FUSED_DTYPES) and fits


def split_heads(qkv: jax.Array, num_heads: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values [B, T, H, D] from tokens [B, T, 3 * H * D] or maps, row by row.

    Raises:
      ValueError: the heads do not divide the width.
    """
    width = qkv.shape[-1] // 3
    if width % num_heads:
        raise ValueError(f"{num_heads} heads do not divide a width of {width}")
    heads = qkv.reshape(qkv.shape[0], -1, 3, num_heads, width // num_heads)  # [B, T, 3, H, D]
    return tuple(jnp.moveaxis(heads, 2, 0))


def attend(q: jax.Array, k: jax.Array, v: jax.Array, fused: bool = False) -> jax.Array:
    """softmax(q k^T / sqrt(D)) v for q, k and v [B, T, H, D]: [B, T, H, D] in v's type.

    Args:
      fused: one kernel without the [B, H, T, T] weights where `can_fuse`, the plain form elsewhere.
        The kernel has a backward pass but no forward-mode derivative: leave it off where jax.jvp is
        taken through the call, as in MeanFlow.
    """
    if fused and can_fuse(jax.default_backend(), q.dtype, q.shape[-1]):
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
    logits = jnp.einsum("bthd,bshd->bhts", q, k, preferred_element_type=jnp.float32)  # [B, H, T, T]
    weights = jax.nn.softmax(logits / jnp.sqrt(jnp.float32(q.shape[-1])), axis=-1)
    return jnp.einsum("bhts,bshd->bthd", weights.astype(v.dtype), v)  # [B, T, H, D]

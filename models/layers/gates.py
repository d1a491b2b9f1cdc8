"""Options of image-translating generators: attention between places, and gates of channels."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.layers.attention import attend, split_heads

REDUCTION = 8  # of the channels in self-attention
SQUEEZE = 16  # of the channels in channel attention


class SelfAttention(nn.Module):
    """x [B, H, W, C] + gamma times self-attention over all places, in C / 8 channels.

    Zhang et al., "Self-Attention Generative Adversarial Networks" (arXiv:1805.08318): queries, keys
    and values are linear maps of x, a further one leads back to C channels, and gamma starts at 0.
    Unlike there, logits are divided by the root of the queries' channels, as in transformers.
    """

    kernel_init: nn.initializers.Initializer
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, dtype=self.dtype, kernel_init=self.kernel_init, name=name)

        inner = max(1, x.shape[-1] // REDUCTION)
        attended = attend(*split_heads(dense(3 * inner, "qkv")(x), 1))  # [B, H W, 1, C / 8]
        attended = dense(x.shape[-1], "proj")(attended.reshape(*x.shape[:3], inner))
        gamma = self.param("gamma", nn.initializers.zeros, ())
        return x + gamma.astype(x.dtype) * attended


class ChannelAttention(nn.Module):
    """x [B, H, W, C] times a gate in (0, 1) for each channel, from the means of all channels.

    Squeeze and excitation (Hu et al., arXiv:1709.01507): means over the places, a dense layer to
    C / 16 channels, ReLU, a dense layer back, sigmoid.
    """

    kernel_init: nn.initializers.Initializer
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, dtype=self.dtype, kernel_init=self.kernel_init, name=name)

        means = jnp.mean(x.astype(jnp.float32), axis=(1, 2), keepdims=True)
        squeezed = nn.relu(dense(max(1, x.shape[-1] // SQUEEZE), "squeeze")(means))
        return x * nn.sigmoid(dense(x.shape[-1], "excite")(squeezed)).astype(x.dtype)


class StyleGate(nn.Module):
    """Gates [B, 1, 1, C] in (0, 2) for the residual branch of a block, from its input's style.

    The style of a channel of x [B, H, W, C] is its mean and its standard deviation over the places;
    each channel's own linear map of the two goes through twice a sigmoid. Weights start at 0, so
    that all gates start at 1.

    Lee et al., "SRM: A Style-based Recalibration Module for Convolutional Neural Networks"
    (arXiv:1903.10829), with a bias for its batch norm, and read at the input of the block: after
    the instance norm that ends a branch, all channels have the same style.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        means = jnp.mean(y, axis=(1, 2), keepdims=True)
        # The root has no derivative at 0, the standard deviation of a constant channel.
        deviations = jnp.sqrt(jnp.var(y, axis=(1, 2), keepdims=True) + 1e-5)
        weights = self.param("weights", nn.initializers.zeros, (3, x.shape[-1]))
        of_mean, of_deviation, bias = weights[:, None, None, None]
        gates = 2.0 * nn.sigmoid(of_mean * means + of_deviation * deviations + bias)
        return gates.astype(x.dtype)

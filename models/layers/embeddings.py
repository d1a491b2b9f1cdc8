"""Embeddings of the fields of a condition, as one vector per sample.

They are float32: they cost one row per sample, and MeanFlow depends on small differences of times.
Throughout, t and h are float32 [B], the time and the length of the interval that ends at t.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.conditions import STYLE_CODES
from models.layers.dense import Dense

FEATURES = 256  # Fourier features of a number
TIME_MAX_PERIOD = 10000.0  # times are not scaled: features vary by one radian over [0, 1]
GUIDANCE_MAX_PERIOD = 10.0

normal = nn.initializers.normal(0.02)


def fourier_features(value: jax.Array, features: int, max_period: float) -> jax.Array:
    """Cosines, then sines, of `value` [B] at geometric frequencies 1 to 1/max_period: [B, F]."""
    half = features // 2
    frequencies = jnp.exp(-jnp.log(max_period) * jnp.arange(half, dtype=jnp.float32) / half)
    angles = value.astype(jnp.float32)[:, None] * frequencies[None, :]  # [B, F / 2]
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def time_features(time: jax.Array) -> jax.Array:
    """Fourier features of a time [B]: [B, FEATURES]."""
    return fourier_features(time, FEATURES, TIME_MAX_PERIOD)


def guidance_features(guidance: jax.Array) -> jax.Array:
    """Fourier features of a guidance scale [B]: [B, FEATURES]."""
    return fourier_features(guidance, FEATURES, GUIDANCE_MAX_PERIOD)


def sinusoidal(value: jax.Array, features: int) -> jax.Array:
    """Sines, then cosines, of `value` [B] at frequencies 1 to 1/10000, both included: [B, F].

    As in DDPM (Ho et al., arXiv:2006.11239); the DDPM++ of EDM (Karras et al., arXiv:2206.00364)
    takes cosines first and then swaps the halves, which is the same.

    Raises:
      ValueError: `features` is odd, or less than the 4 that two frequencies need.
    """
    if features % 2 or features < 4:
        raise ValueError(f"{features} features of a time; choose an even number of at least 4")
    half = features // 2
    exponents = jnp.arange(half, dtype=jnp.float32) / (half - 1)
    frequencies = jnp.exp(-math.log(TIME_MAX_PERIOD) * exponents)
    angles = value.astype(jnp.float32)[:, None] * frequencies[None]  # [B, F / 2]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def with_time_planes(z: jax.Array, t: jax.Array, h: jax.Array) -> jax.Array:
    """z [B, H, W, C] with two constant planes appended, r = t - h and t: [B, H, W, C + 2]."""
    times = jnp.stack([t - h, t], axis=-1)[:, None, None, :]  # [B, 1, 1, 2]
    return jnp.concatenate([z, jnp.broadcast_to(times, (*z.shape[:3], 2))], axis=-1)


class TwoLayers(nn.Module):
    """Dense, SiLU, dense: [B, F] to [B, D]."""

    width: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.silu(Dense(self.width, kernel_init=self.kernel_init, name="in")(x))
        return Dense(self.width, kernel_init=self.kernel_init, name="out")(x)


def label_row(label: jax.Array | None, num_classes: int, width: int) -> jax.Array:
    """The rows [B, width] of labels [B] in a table of all classes and the null class.

    Creates the table in the calling module. Raises ValueError for label None.
    """
    if label is None:
        raise ValueError(
            f"a network of {num_classes} classes needs labels [B]; pass {num_classes}, the null "
            "class, for samples without a label"
        )
    return nn.Embed(num_classes + 1, width, embedding_init=normal, name="label")(label)


def guidance_row(
    guidance: jax.Array, width: int, kernel_init: nn.initializers.Initializer = normal
) -> jax.Array:
    """The embedding [B, width] of guidance scales [B]; creates its layers in the calling module."""
    return TwoLayers(width, kernel_init, name="guidance")(guidance_features(guidance))


def style_row(style: jax.Array, width: int, dtype: Any) -> jax.Array:
    """The sum [B, width] of a codebook's rows at the codes [B, 32].

    Creates the codebook in the calling module. The counts of the codes times the codebook: a matrix
    product instead of a gather [B, 32, width].
    """
    codebook = nn.Embed(STYLE_CODES, width, embedding_init=normal, name="style")
    counts = jnp.sum(jax.nn.one_hot(style, STYLE_CODES, dtype=dtype), axis=1)  # [B, STYLE_CODES]
    return counts @ codebook.embedding.astype(dtype)


class Conditioning(nn.Module):
    """The sum of the embeddings of t, h, and the label and guidance if they are given.

    The conditioning of the DiT (Peebles and Xie, arXiv:2212.09748), with h as a second time.

    Attributes:
      num_classes: label `num_classes` is the null class; 0 for no label table.
      shared_time: one embedding for both r = t - h and t, instead of one for t and one for h.
    """

    num_classes: int
    hidden_size: int
    shared_time: bool = False

    @nn.compact
    def __call__(
        self,
        t: jax.Array,
        h: jax.Array,
        label: jax.Array | None,
        guidance: jax.Array | None = None,
    ) -> jax.Array:
        """Float32 [B, hidden_size] from int32 labels and float32 guidance scales, [B] or None."""
        t_embed = TwoLayers(self.hidden_size, normal, name="t_embed")
        total = t_embed(time_features(t))
        if self.shared_time:
            total += t_embed(time_features(t - h))
        else:
            total += TwoLayers(self.hidden_size, normal, name="h_embed")(time_features(h))
        if self.num_classes:
            total += label_row(label, self.num_classes, self.hidden_size)
        if guidance is not None:
            total += guidance_row(guidance, self.hidden_size)
        return total


class JointEmbedding(nn.Module):
    """One network over the concatenated features of t and h, plus augmentation, label and guidance.

    The mapping network of the DDPM++ in EDM, with h as a second time. The last activation is left
    to the caller.

    Attributes:
      features: number of features of each of the two times.
      width: of the embedding, D.
      num_classes: label `num_classes` is the null class; 0 for no label table.
      augment_dim: how many numbers describe an image's augmentation; 0 for none.
    """

    features: int
    width: int
    num_classes: int
    augment_dim: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(
        self,
        t: jax.Array,
        h: jax.Array,
        label: jax.Array | None,
        guidance: jax.Array | None,
        augment: jax.Array | None,
    ) -> jax.Array:
        """Float32 [B, D] from int32 labels [B], guidance [B], augment [B, augment_dim] or None."""
        x = jnp.concatenate([sinusoidal(t, self.features), sinusoidal(h, self.features)], axis=-1)
        if self.augment_dim:
            x = x + self._augmentation(augment, *x.shape)
        if self.num_classes:
            x = x + label_row(label, self.num_classes, x.shape[-1])
        x = TwoLayers(self.width, self.kernel_init, name="times")(x)
        return x if guidance is None else x + guidance_row(guidance, self.width, self.kernel_init)

    def _augmentation(self, augment: jax.Array | None, batch: int, width: int) -> jax.Array:
        # Without a bias, zeros mean "not augmented", as None does.
        given = jnp.zeros((batch, self.augment_dim)) if augment is None else augment
        layer = Dense(width, use_bias=False, kernel_init=self.kernel_init, name="augment")
        return layer(given.astype(jnp.float32))


class PairEmbedding(nn.Module):
    """A network for t and one for h, joined by a dense layer, plus the label's row.

    The last activation is left to the caller.

    Attributes:
      features: number of features of each of the two times.
      width: of the embedding, D.
      num_classes: label `num_classes` is the null class; 0 for no label table.
      shared: one network for the sum of the features of r = t - h and of t instead.
    """

    features: int
    width: int
    num_classes: int
    shared: bool
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, t: jax.Array, h: jax.Array, label: jax.Array | None) -> jax.Array:
        """Float32 [B, D] from int32 labels [B]."""
        network = functools.partial(TwoLayers, self.width, self.kernel_init)
        if self.shared:
            both = sinusoidal(t - h, self.features) + sinusoidal(t, self.features)
            x = network(name="times")(both)
        else:
            end = network(name="t")(sinusoidal(t, self.features))
            length = network(name="h")(sinusoidal(h, self.features))
            x = Dense(self.width, kernel_init=self.kernel_init, name="join")(
                jnp.concatenate([end, length], axis=-1)
            )
        if self.num_classes:
            x = x + label_row(label, self.num_classes, self.width)
        return x

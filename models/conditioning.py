"""The condition of a velocity network as one vector: t, the end of an interval, h = t - r, label.

All of it is float32: it costs one row an image, and MeanFlow lives on small differences of times.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.dit import Dense, fourier_features

MAX_PERIOD = 10000.0  # times are not scaled: the features vary by one radian over [0, 1]

normal = nn.initializers.normal(0.02)


def sinusoidal(value: jax.Array, features: int) -> jax.Array:
    """Sines, then cosines, of `value` [B] at frequencies 1 to 1/10000, both included: [B, F].

    As in DDPM (Ho et al., arXiv:2006.11239); the DDPM++ of EDM (Karras et al., arXiv:2206.00364)
    takes cosines first and then swaps the halves, which is the same.

    Raises:
      ValueError: `features` is odd or less than 4, so there are no two frequencies.
    """
    if features % 2 or features < 4:
        raise ValueError(f"{features} features of a time; choose an even number from 4 on")
    half = features // 2
    exponents = jnp.arange(half, dtype=jnp.float32) / (half - 1)
    angles = value.astype(jnp.float32)[:, None] * jnp.exp(-math.log(MAX_PERIOD) * exponents)[None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class TwoLayers(nn.Module):
    """Dense, SiLU, dense: [B, F] to [B, D]."""

    width: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.silu(Dense(self.width, kernel_init=self.kernel_init, name="in")(x))
        return Dense(self.width, kernel_init=self.kernel_init, name="out")(x)


class JointEmbedding(nn.Module):
    """One network over the features of t and of h beside each other, plus what is known of them.

    The mapping network of the DDPM++ in EDM, with h as a second time. The last activation is left
    to the caller.

    Attributes:
      features: of each of the two times.
      width: of the embedding, D.
      num_classes: label `num_classes` is the null class; 0 for no label table.
      augment_dim: numbers that tell an image's augmentation; 0 for none.
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
        labels: jax.Array | None,
        augment: jax.Array | None,
    ) -> jax.Array:
        """Embedding float32 [B, D] of t, h [B], labels [B] and augment [B, augment_dim] or None."""
        x = jnp.concatenate([sinusoidal(t, self.features), sinusoidal(h, self.features)], axis=-1)
        if self.augment_dim:
            # Without a bias, zeros say "not augmented", as None does.
            given = jnp.zeros((x.shape[0], self.augment_dim)) if augment is None else augment
            layer = Dense(
                x.shape[-1], use_bias=False, kernel_init=self.kernel_init, name="augment"
            )
            x = x + layer(given.astype(jnp.float32))
        if self.num_classes:
            table = label_table(self.num_classes, x.shape[-1])
            x = x + table(require_labels(labels, self.num_classes))
        return TwoLayers(self.width, self.kernel_init, name="times")(x)


class PairEmbedding(nn.Module):
    """A network for t and one for h, joined by a dense layer, plus a label's row.

    The last activation is left to the caller.

    Attributes:
      features: of each of the two times.
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
    def __call__(self, t: jax.Array, h: jax.Array, labels: jax.Array | None) -> jax.Array:
        """Embedding float32 [B, D] of t, h [B] and labels [B]."""

        def network(name: str) -> TwoLayers:
            return TwoLayers(self.width, self.kernel_init, name=name)

        if self.shared:
            x = network("times")(sinusoidal(t - h, self.features) + sinusoidal(t, self.features))
        else:
            end = network("t")(sinusoidal(t, self.features))
            length = network("h")(sinusoidal(h, self.features))
            x = Dense(self.width, kernel_init=self.kernel_init, name="join")(
                jnp.concatenate([end, length], axis=-1)
            )
        if self.num_classes:
            table = label_table(self.num_classes, self.width)
            x = x + table(require_labels(labels, self.num_classes))
        return x


class Conditioning(nn.Module):
    """t, h and label to [B, D] float32, by the sum of their embeddings.

    The condition of the DiT (Peebles and Xie, arXiv:2212.09748), with h as a second time.

    Attributes:
      num_classes: label `num_classes` is the null class; 0 for no label table.
      shared_time: one embedding for both of r = t - h and t, instead of one for t, one for h.
    """

    num_classes: int
    hidden_size: int
    shared_time: bool = False

    @nn.compact
    def __call__(self, t: jax.Array, h: jax.Array, labels: jax.Array | None) -> jax.Array:
        features = functools.partial(fourier_features, max_period=MAX_PERIOD)
        t_embed = TwoLayers(self.hidden_size, normal, name="t_embed")
        condition = t_embed(features(t))
        if self.shared_time:
            condition += t_embed(features(t - h))
        else:
            condition += TwoLayers(self.hidden_size, normal, name="h_embed")(features(h))
        if self.num_classes == 0:
            return condition
        table = label_table(self.num_classes, self.hidden_size)
        return condition + table(require_labels(labels, self.num_classes))


def label_table(num_classes: int, width: int) -> nn.Module:
    """A row of float32 [width] for each class and the null class, made inside a module."""
    return nn.Embed(num_classes + 1, width, embedding_init=normal, name="label")


def require_labels(labels: jax.Array | None, num_classes: int) -> jax.Array:
    """The labels; ValueError where a network with classes was called without."""
    if labels is None:
        raise ValueError(
            f"a network of {num_classes} classes needs labels [B]; {num_classes} is the null label"
        )
    return labels

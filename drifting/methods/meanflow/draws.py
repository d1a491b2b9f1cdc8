"""The random draws of a step: noise, times, and dropped labels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from drifting.flows import paths
from drifting.methods.meanflow.settings import Settings


class Examples(NamedTuple):
    """B training examples.

    Attributes:
      x, e: data and noise, [B, ...].
      r, t: [B], 0 <= r <= t <= 1.
      labels: int32 [B], the null class where dropped.
      dropped: bool [B].
    """

    x: jax.Array
    e: jax.Array
    r: jax.Array
    t: jax.Array
    labels: jax.Array
    dropped: jax.Array


class Keys(NamedTuple):
    """The named random streams of one step."""

    augment: jax.Array
    noise: jax.Array
    times: jax.Array
    label_dropout: jax.Array
    dropout: jax.Array

    @classmethod
    def of(cls, key: jax.Array) -> "Keys":
        """The streams of the step with this key."""
        return cls(*jax.random.split(key, len(cls._fields)))


def examples(
    settings: Settings, null_label: int, keys: Keys, x: jax.Array, labels: jax.Array
) -> tuple[Examples, ...]:
    """The examples of a batch x [B, ...] in parts: rows with r != t, then rows with r = t.

    Labels are dropped independently of r = t. (In a release both were the first rows of a batch,
    so the null class hardly ever saw r < t.) As released, t is the later of two draws in both
    parts; in flow matching it is a single draw. Empty parts are left out.
    """
    n, s = settings.batch_size, settings
    how = (s.times, s.times_mean, s.times_std)
    if s.rows_r_neq_t:
        r, t = paths.sample_intervals(keys.times, n, *how)
        r = jnp.where(jnp.arange(n) < s.rows_r_neq_t, r, t)
    else:
        r = t = paths.sample_times(keys.times, n, *how)
    dropped = jax.random.uniform(keys.label_dropout, (n,)) < s.label_dropout
    labels = jnp.where(dropped, null_label, labels)
    e = jax.random.normal(keys.noise, x.shape)
    whole = Examples(x, e, r, t, labels, dropped)
    parts = (slice(0, s.rows_r_neq_t), slice(s.rows_r_neq_t, n))
    parts = (jax.tree.map(lambda a, rows=rows: a[rows], whole) for rows in parts)
    return tuple(part for part in parts if len(part.t))

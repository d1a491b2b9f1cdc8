"""Micro-batches: one loop for every method, over chunks of a batch that are taken one at a time."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from drifting.core.errors import ConfigError

T = TypeVar("T")


def require_division(micro_batches: int, rows: int, what: str) -> None:
    """Raises ConfigError unless `rows` rows are micro_batches equal parts."""
    if micro_batches < 1 or rows % micro_batches:
        raise ConfigError(f"config.method.micro_batches = {micro_batches} does not divide {what}")


def in_chunks(rows: Any, count: int, axis: int = 0) -> Any:
    """The batch axis of every array as [count, B / count], chunks first."""

    def split(x: jax.Array) -> jax.Array:
        chunked = x.reshape(*x.shape[:axis], count, -1, *x.shape[axis + 1 :])
        return jnp.moveaxis(chunked, axis, 0)

    return jax.tree.map(split, rows)


def sum_over_chunks(function: Callable[[Any], T], chunks: Any) -> T:
    """The sum of function(chunk), a pytree of arrays; only one chunk's activations are alive.

    Args:
      chunks: a pytree of arrays [count, ...].
    """
    shapes = jax.eval_shape(function, jax.tree.map(lambda x: x[0], chunks))
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def add(total: T, chunk: Any) -> tuple[T, None]:
        return jax.tree.map(jnp.add, total, function(chunk)), None

    return jax.lax.scan(add, zero, chunks)[0]


def mean_over_chunks(
    function: Callable[[Any, jax.Array], T], rows: Any, key: jax.Array, count: int
) -> T:
    """function(rows, key) of a whole batch, as the mean over `count` equal parts of it.

    For the mean of a loss over a batch, its gradient and metrics, the same up to rounding.

    Args:
      rows: a pytree of arrays [B, ...] whose rows are divided, each array apart.
      key: of random draws; each part has its own.
    """
    if count == 1:
        return function(rows, key)

    def part(chunk: tuple[Any, jax.Array]) -> T:
        return jax.tree.map(lambda x: x / count, function(*chunk))

    return sum_over_chunks(part, (in_chunks(rows, count), jax.random.split(key, count)))

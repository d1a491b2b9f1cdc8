"""Micro-batches: gradients accumulated over chunks of a batch that are computed one at a time."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from drifting.core.errors import ConfigError

T, C = TypeVar("T"), TypeVar("C")


def require_division(micro_batches: int, rows: int, what: str) -> None:
    """Raises ConfigError unless `micro_batches` divides `rows`; `what` describes the rows."""
    if micro_batches < 1 or rows % micro_batches:
        raise ConfigError(
            f"config.method.micro_batches = {micro_batches} does not divide {what}; choose a "
            "divisor"
        )


def in_chunks(rows: Any, count: int, axis: int = 0) -> Any:
    """Splits the batch axis of every array: [..., B, ...] to [count, ..., B / count, ...].

    Chunk i has the rows i, i + count, ...: where consecutive rows are on one device, each device
    keeps its share of every chunk.
    """

    def split(x: jax.Array) -> jax.Array:
        chunked = x.reshape(*x.shape[:axis], -1, count, *x.shape[axis + 1 :])
        return jnp.moveaxis(chunked, axis + 1, 0)  # [count, ..., B / count, ...]

    return jax.tree.map(split, rows)


def sum_over_chunks(function: Callable[[Any], T], chunks: Any) -> T:
    """The sum of function(chunk), a pytree of arrays, holding one chunk's activations at a time.

    Args:
      chunks: a pytree of arrays [count, ...].
    """
    shapes = jax.eval_shape(function, jax.tree.map(lambda x: x[0], chunks))
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def add(total: T, chunk: Any) -> tuple[T, None]:
        return jax.tree.map(jnp.add, total, function(chunk)), None

    return jax.lax.scan(add, zero, chunks)[0]


def carried_over_chunks(
    function: Callable[[C, Any, jax.Array], tuple[T, C]],
    carry: C,
    rows: Any,
    key: jax.Array,
    count: int,
) -> tuple[T, C]:
    """The mean of a function over `count` equal parts, and what each part hands on to the next.

    Args:
      function: (carry, rows, key) of a part -> (a pytree of arrays to be averaged, the new carry).
      carry: of the first part.
      rows: a pytree of arrays [B, ...]; B may differ between arrays.
      key: for random draws; each part gets its own.
    """
    if count == 1:
        return function(carry, rows, key)

    def add(state: tuple[T, C], chunk: tuple[Any, jax.Array]) -> tuple[tuple[T, C], None]:
        total, carry = state
        found, carry = function(carry, *chunk)
        return (jax.tree.map(lambda t, x: t + x / count, total, found), carry), None

    chunks = in_chunks(rows, count), jax.random.split(key, count)
    shapes, _ = jax.eval_shape(function, carry, *jax.tree.map(lambda x: x[0], chunks))
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.scan(add, (zero, carry), chunks)[0]


def mean_over_chunks(
    function: Callable[[Any, jax.Array], T], rows: Any, key: jax.Array, count: int
) -> T:
    """function(rows, key) of a whole batch, computed as the mean over `count` equal parts.

    Equal up to rounding for a mean over the batch, such as a loss, its gradient and metrics.

    Args:
      rows: a pytree of arrays [B, ...]; B may differ between arrays.
      key: for random draws; each part gets its own.
    """
    return carried_over_chunks(
        lambda carry, rows, key: (function(rows, key), carry), (), rows, key, count
    )[0]

"""A pseudo-random permutation of 0..size-1, evaluated element by element without sorting.

A balanced Feistel network permutes the range up to the next power of four, and cycle walking
restricts it to `size`: a value outside is permuted again until it is inside (Black and Rogaway,
"Ciphers with Arbitrary Finite Domains", CT-RSA 2002). It is not cryptographically secure.

No library is used because jax.random.permutation sorts the whole range at each call, while a step
needs only the places of its batch.
"""

import jax
import jax.numpy as jnp

ROUNDS = 8  # more than the theory's four, for tiny domains whose halves have one or two bits
MAX_SIZE = 2**31 - 1  # results are int32


def round_keys(key: jax.Array) -> jax.Array:
    """The round keys of a random permutation, uint32 [ROUNDS]."""
    return jax.random.bits(key, (ROUNDS,), jnp.uint32)


def permuted(keys: jax.Array, places: jax.Array, size: int) -> jax.Array:
    """The permuted `places`, int32 [n].

    Args:
      keys: uint32 [n, ROUNDS], the `round_keys` for each place; equal rows are one permutation.
      places: integers [n] in 0..size-1.

    Raises:
      ValueError: size is not in 1 to 2^31 - 1.
    """
    if not 1 <= size <= MAX_SIZE:
        raise ValueError(f"can permute 1 to {MAX_SIZE} values, not {size}")
    half_bits = ((size - 1).bit_length() + 1) // 2
    size = jnp.uint32(size)

    def outside(values):
        return jnp.any(values >= size)

    def again(values):
        return jnp.where(values >= size, _feistel(keys, values, half_bits), values)

    start = _feistel(keys, places.astype(jnp.uint32), half_bits)
    return jax.lax.while_loop(outside, again, start).astype(jnp.int32)


def _feistel(keys: jax.Array, values: jax.Array, half_bits: int) -> jax.Array:
    """Permutes uint32 values [n] in 0..4^half_bits-1 by keys [n, ROUNDS]."""
    mask = jnp.uint32(2**half_bits - 1)
    left, right = values >> half_bits, values & mask
    for i in range(ROUNDS):
        left, right = right, left ^ (_mix(right ^ keys[:, i]) & mask)
    return (left << half_bits) | right


def _mix(x: jax.Array) -> jax.Array:
    """The 32-bit finaliser of MurmurHash3 (Appleby): each input bit flips half of the output."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)

"""Euclidean distances of all pairs of two point sets, or of two batches of sets [C, N, D]."""

import jax
import jax.numpy as jnp

# Up to here distances are sums of squared differences, above this a matrix product. The sum is
# unrolled, and its gradient takes long to compile.
DIRECT_DIMENSIONS = 8
HIGHEST = jax.lax.Precision.HIGHEST  # else float32 products are TF32 on recent GPUs


def as_float(x: jax.Array) -> jax.Array:
    """x in float32 at least: a field in bfloat16 would round distances to two digits."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def distances(
    x: jax.Array,
    y: jax.Array,
    begins_with_x: bool = False,
    direct_dimensions: int = DIRECT_DIMENSIONS,
) -> jax.Array:
    """Distances [C, N, M] of x [C, N, D] to y [C, M, D]; at distance 0 the gradient is 0.

    Args:
      begins_with_x: y's first N points are x itself, so each has distance 0 to its copy, exactly;
        a matrix product leaves a remainder.
      direct_dimensions: see `squared_distances`.
    """
    squared = squared_distances(x, y, direct_dimensions)
    if begins_with_x:
        squared = jnp.where(own_pairs(squared), 0.0, squared)
    apart = squared > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)


def own_pairs(matrix: jax.Array) -> jax.Array:
    """bool [1, N, M] for a matrix [C, N, M]: the pairs (i, i)."""
    return jnp.eye(*matrix.shape[-2:], dtype=bool)[None]


def squared_distances(
    x: jax.Array, y: jax.Array, direct_dimensions: int = DIRECT_DIMENSIONS
) -> jax.Array:
    """Squared distances [..., N, M] of x [..., N, D] to y [..., M, D].

    Args:
      direct_dimensions: up to this D they are sums of squared differences, one dimension after the
        other: as cheap as a matrix product there, and exact for close points. Above it they are
        |x|^2 + |y|^2 - 2 x.y, which loses about 1e-7 |x|^2 to cancellation.
    """
    if x.shape[-1] <= direct_dimensions:
        columns = zip(jnp.moveaxis(x, -1, 0), jnp.moveaxis(y, -1, 0), strict=True)
        return sum(jnp.square(a[..., :, None] - b[..., None, :]) for a, b in columns)
    # Relative to the centre of y, the terms that cancel are as small as they can be.
    centre = jax.lax.stop_gradient(jnp.mean(y, axis=-2, keepdims=True))
    x, y = x - centre, y - centre
    products = jnp.einsum("...nd,...md->...nm", x, y, precision=HIGHEST)  # [..., N, M]
    x2, y2 = jnp.sum(x * x, axis=-1), jnp.sum(y * y, axis=-1)
    return jnp.maximum(x2[..., :, None] + y2[..., None, :] - 2.0 * products, 0.0)

"""3x3 convolutions with half of the multiplications, for CPUs.

Winograd's minimal filtering (Lavin and Gray, arXiv:1509.09308) along the height: four outputs of a
filter of three taps are a linear map of six products of linear maps of the six inputs and of the
three taps, where the sum over taps takes twelve. The maps of a whole axis are matrix products, and
the six products are convolutions with kernels of one row.
"""

import jax
import jax.numpy as jnp
import numpy as np

from models.layers.resample import batched

TAPS, TILE = 3, 4  # of the filter; outputs of a tile
SIZE = TILE + TAPS - 1  # inputs of a tile, and products
# Polynomials are multiplied by their values at these points and at infinity: of those tried, they
# lose the fewest digits. Results differ from the sum over taps by 3e-6 of the largest one.
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)


def winograd3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution of x [B, H, W, C] with a kernel [3, 3, C, O], unpadded: [B, H-2, W-2, O]."""
    batch, height, width, channels = x.shape
    outputs, features = height - TAPS + 1, kernel.shape[-1]
    tiles = -(-outputs // TILE)
    x = batched(_into_tiles(outputs), x.reshape(batch, height, -1))
    x = x.reshape(batch, SIZE, tiles, width, channels)
    kernel = jnp.einsum("jt,twco->jwco", FILTER.astype(np.float32), kernel)
    products = [
        jax.lax.conv_general_dilated(
            x[:, j], kernel[j][None], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        for j in range(SIZE)
    ]
    y = jnp.stack(products, axis=1).reshape(batch, SIZE * tiles, -1)
    y = batched(_from_tiles(outputs), y)
    return y.reshape(batch, outputs, width - TAPS + 1, features)


def _matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The linear maps of inputs [6, 6], of taps [6, 3] and of products [4, 6]."""
    points = np.array(POINTS)
    others = [np.delete(points, i) for i in range(len(points))]
    inputs = np.zeros((SIZE, SIZE))
    for i, other in enumerate(others):
        inputs[i, :-1] = np.poly(other)[::-1]
    inputs[-1] = np.poly(points)[::-1]
    scale = np.array([np.prod(p - other) for p, other in zip(points, others, strict=True)])
    values = np.vander(points, TILE, increasing=True)  # of 1, p, p^2, p^3
    taps = np.vstack([values[:, :TAPS] / scale[:, None], np.eye(TAPS)[-1]])
    products = np.vstack([values, np.eye(TILE)[-1]]).T
    return inputs, taps, products


INPUTS, FILTER, PRODUCTS = _matrices()


def _into_tiles(outputs: int) -> np.ndarray:
    """The matrix [6 tiles, outputs + 2] from an axis to what is multiplied, a row for each tile."""
    tiles = -(-outputs // TILE)
    matrix = np.zeros((SIZE, tiles, TILE * tiles + TAPS - 1))
    for t in range(tiles):
        matrix[:, t, TILE * t : TILE * t + SIZE] = INPUTS
    return matrix.reshape(SIZE * tiles, -1)[:, : outputs + TAPS - 1]  # 0 beyond the edge


def _from_tiles(outputs: int) -> np.ndarray:
    """The matrix [outputs, 6 tiles] from the products to an axis."""
    tiles = -(-outputs // TILE)
    matrix = np.zeros((tiles, TILE, SIZE, tiles))
    for t in range(tiles):
        matrix[t, :, :, t] = PRODUCTS
    return matrix.reshape(TILE * tiles, -1)[:outputs]

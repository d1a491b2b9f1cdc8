"""The InceptionV3 of the Frechet Inception distance, in Flax, for inference.

Szegedy et al., arXiv:1512.00567, as in the TensorFlow graph of 2015-12-05 on which Heusel et al.
(arXiv:1706.08500) defined the score. It differs from the published network in its average pools,
which do not count padding, and in the last block's pool, which is a maximum; it has 1008 classes.
Layers carry the names of the PyTorch port of that graph, so that its weights load by name.

Batch normalisation has fixed statistics and is folded into the convolution before it.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.layers.convolution import HIGHEST, convolve, windows

IMAGE_SIZE = 299
POOL_FEATURES = 2048
LOGITS = 1008
EPSILON = 1e-3  # of every batch normalisation


class Conv(nn.Module):
    """Convolution without bias, batch normalisation with fixed statistics, ReLU.

    Attributes:
      same: zero-padded to keep the size; otherwise not padded.
      pool: a linear pool between the convolution and the normalisation, which are linear as well.
    """

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    same: bool = True
    pool: Callable[[jax.Array], jax.Array] | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        weight, bias, mean, variance = (
            self.param(name, init, (self.features,))
            for name, init in (
                ("weight", nn.initializers.ones),
                ("bias", nn.initializers.zeros),
                ("mean", nn.initializers.zeros),
                ("var", nn.initializers.ones),
            )
        )
        scale = weight * jax.lax.rsqrt(variance + EPSILON)
        padding = tuple(k // 2 if self.same else 0 for k in self.kernel)
        y = convolve(x, kernel * jnp.broadcast_to(scale, shape), self.stride, padding)
        if self.pool is not None:
            y = self.pool(y)
        return nn.relu(y + jnp.broadcast_to(bias - mean * scale, y.shape))


def max_pool(x: jax.Array, stride: int = 2) -> jax.Array:
    """3x3; not padded at stride 2, padded to keep the size at stride 1."""
    padding = (0, 0) if stride == 2 else (1, 1)
    return functools.reduce(jnp.maximum, windows(x, (3, 3), stride, padding, fill=-jnp.inf))


def average_pool(x: jax.Array) -> jax.Array:
    """3x3 at stride 1; at the border the mean is over the pixels that exist."""
    rows = sum(windows(x, (3, 1), 1, (1, 0)))
    total = sum(windows(rows, (1, 3), 1, (0, 1)))
    _, height, width, _ = x.shape
    counts = [jnp.full(n, 3.0).at[jnp.array([0, n - 1])].add(-1.0) for n in (height, width)]
    return total / (counts[0][:, None] * counts[1][None, :])[None, :, :, None]


def pooled(features: int) -> Conv:
    """A 1x1 convolution of average_pool(x), computed as the average pool of fewer channels."""
    return Conv(features, pool=average_pool, name="branch_pool")


class BlockA(nn.Module):
    """35x35 maps."""

    pool_features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        one = Conv(64, name="branch1x1")(x)
        five = Conv(48, name="branch5x5_1")(x)
        five = Conv(64, (5, 5), name="branch5x5_2")(five)
        double = Conv(64, name="branch3x3dbl_1")(x)
        double = Conv(96, (3, 3), name="branch3x3dbl_2")(double)
        double = Conv(96, (3, 3), name="branch3x3dbl_3")(double)
        pool = pooled(self.pool_features)(x)
        return jnp.concatenate([one, five, double, pool], axis=-1)


class BlockB(nn.Module):
    """35x35 to 17x17 maps."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        three = Conv(384, (3, 3), 2, same=False, name="branch3x3")(x)
        double = Conv(64, name="branch3x3dbl_1")(x)
        double = Conv(96, (3, 3), name="branch3x3dbl_2")(double)
        double = Conv(96, (3, 3), 2, same=False, name="branch3x3dbl_3")(double)
        return jnp.concatenate([three, double, max_pool(x)], axis=-1)


class BlockC(nn.Module):
    """17x17 maps, convolutions of 7 split into rows and columns."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        one = Conv(192, name="branch1x1")(x)
        seven = Conv(self.width, name="branch7x7_1")(x)
        seven = Conv(self.width, (1, 7), name="branch7x7_2")(seven)
        seven = Conv(192, (7, 1), name="branch7x7_3")(seven)
        double = Conv(self.width, name="branch7x7dbl_1")(x)
        double = Conv(self.width, (7, 1), name="branch7x7dbl_2")(double)
        double = Conv(self.width, (1, 7), name="branch7x7dbl_3")(double)
        double = Conv(self.width, (7, 1), name="branch7x7dbl_4")(double)
        double = Conv(192, (1, 7), name="branch7x7dbl_5")(double)
        pool = pooled(192)(x)
        return jnp.concatenate([one, seven, double, pool], axis=-1)


class BlockD(nn.Module):
    """17x17 to 8x8 maps."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        three = Conv(192, name="branch3x3_1")(x)
        three = Conv(320, (3, 3), 2, same=False, name="branch3x3_2")(three)
        seven = Conv(192, name="branch7x7x3_1")(x)
        seven = Conv(192, (1, 7), name="branch7x7x3_2")(seven)
        seven = Conv(192, (7, 1), name="branch7x7x3_3")(seven)
        seven = Conv(192, (3, 3), 2, same=False, name="branch7x7x3_4")(seven)
        return jnp.concatenate([three, seven, max_pool(x)], axis=-1)


class BlockE(nn.Module):
    """8x8 maps; the graph's last block pools by maximum."""

    pool_by_maximum: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        one = Conv(320, name="branch1x1")(x)
        three = Conv(384, name="branch3x3_1")(x)
        rows = Conv(384, (1, 3), name="branch3x3_2a")(three)
        columns = Conv(384, (3, 1), name="branch3x3_2b")(three)
        double = Conv(448, name="branch3x3dbl_1")(x)
        double = Conv(384, (3, 3), name="branch3x3dbl_2")(double)
        double_rows = Conv(384, (1, 3), name="branch3x3dbl_3a")(double)
        double_columns = Conv(384, (3, 1), name="branch3x3dbl_3b")(double)
        if self.pool_by_maximum:
            pool = Conv(192, name="branch_pool")(max_pool(x, stride=1))
        else:
            pool = pooled(192)(x)
        return jnp.concatenate([one, rows, columns, double_rows, double_columns, pool], axis=-1)


class InceptionV3(nn.Module):
    """Images float32 [B, 299, 299, 3] in about [-1, 1] to pool features and logits.

    Any size of 75 pixels or more runs; published scores are of 299. All products are in full
    float32, not TF32, on GPUs as well.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Pool features, logits and spatial means of earlier maps, by name.

        Returns:
          `pool` [B, 2048]; `logits` [B, 1008] without the bias, as in the graph's Inception Score,
          and `bias` [1008]; the means over space of the maps after the first and the second maximum
          pool and before the last reduction: `block0` [B, 64], `block1` [B, 192], `block2`
          [B, 768].
        """
        x = Conv(32, (3, 3), 2, same=False, name="Conv2d_1a_3x3")(x)
        x = Conv(32, (3, 3), same=False, name="Conv2d_2a_3x3")(x)
        x = Conv(64, (3, 3), name="Conv2d_2b_3x3")(x)
        block0 = x = max_pool(x)
        x = Conv(80, name="Conv2d_3b_1x1")(x)
        x = Conv(192, (3, 3), same=False, name="Conv2d_4a_3x3")(x)
        block1 = x = max_pool(x)
        for name, pool_features in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = BlockA(pool_features, name=name)(x)
        x = BlockB(name="Mixed_6a")(x)
        for name, width in (
            ("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)
        ):  # fmt: skip
            x = BlockC(width, name=name)(x)
        block2 = x
        x = BlockD(name="Mixed_7a")(x)
        x = BlockE(pool_by_maximum=False, name="Mixed_7b")(x)
        x = BlockE(pool_by_maximum=True, name="Mixed_7c")(x)
        pool = _spatial_mean(x)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (POOL_FEATURES, LOGITS))
        return {
            "pool": pool,
            "logits": jnp.matmul(pool, kernel, precision=HIGHEST),
            "bias": self.param("bias", nn.initializers.zeros, (LOGITS,)),
            "block0": _spatial_mean(block0),
            "block1": _spatial_mean(block1),
            "block2": _spatial_mean(block2),
        }


def _spatial_mean(x: jax.Array) -> jax.Array:
    return jnp.mean(x, axis=(1, 2))

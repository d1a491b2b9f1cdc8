"""Converts PyTorch's arrays to ours: channels last, kernels with inputs before outputs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def nhwc(array: np.ndarray) -> jax.Array:
    return jnp.asarray(np.transpose(array, (0, 2, 3, 1)))


def nchw(array: jax.Array) -> np.ndarray:
    return np.transpose(np.asarray(array), (0, 3, 1, 2))


def filled(shapes: dict, g: dict[str, np.ndarray], reference_name: Callable[[str], str]) -> dict:
    """Variables of these shapes with the reference's weights `w.*`, each of them used once.

    Args:
      shapes: what jax.eval_shape gives for `init`.
      reference_name: of our layer's path, without layers.dense.Dense's own level: the reference's.
    """
    used = []

    def fill(path, leaf):
        *layer, kind = (k.key for k in path[1:])
        name = reference_name("/".join(part for part in layer if part != "dense"))
        used.append(f"w.{name}.{'bias' if kind == 'bias' else 'weight'}")
        array = g[used[-1]].astype(np.float32)
        if kind == "kernel":
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        if array.shape[:2] == (1, 1):  # a 1x1 convolution is a dense layer here
            array = array[0, 0]
        assert array.shape == leaf.shape, name
        return jnp.asarray(array)

    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    assert sorted(used) == sorted(k for k in g if k.startswith("w.")), "each weight is used once"
    return variables

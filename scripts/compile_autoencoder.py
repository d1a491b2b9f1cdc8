"""Compiles an autoencoder without running it, and prints JSON: parameters and memory.

    python scripts/compile_autoencoder.py --variant mltools --batch_size 4

Two programs are compiled for the present backend: the reconstruction of a batch, and the gradient
of the training loss. Nothing is allocated but the programs. Their memory is XLA's own count: the
arguments and results, and what is needed in between (`temporary`). The optimiser's state and the
averages come on top: with Adam and an average three times `parameter_bytes`.
"""

import json

import jax
import jax.numpy as jnp
from absl import flags

from drifting import cli
from drifting.core import gaussian
from models import autoencoder_kl, registry

VARIANT = flags.DEFINE_enum(
    "variant", "mltools", tuple(autoencoder_kl.VARIANTS), "Attributes, by models/autoencoder_kl.py"
)
IMAGE_SIZE = flags.DEFINE_integer("image_size", 64, "Side of the images", lower_bound=1)
CHANNELS = flags.DEFINE_integer("channels", 1028, "Channels of the images", lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Images per batch", lower_bound=1)
PRECISION = flags.DEFINE_enum("precision", "float32", ("float32", "bfloat16"), "Computation")
KL_WEIGHT = 1e-6


def loss(network, params, images, key):
    """Absolute errors per image and the weighted divergence, as in training."""

    def apply(x, method):
        return network.apply({"params": params}, x, method=method)

    moments = apply(images, "encode")
    decoded = apply(gaussian.draw(moments, key), "decode")
    errors = jnp.sum(jnp.abs(images - decoded), axis=(1, 2, 3))
    return jnp.mean(errors) + KL_WEIGHT * jnp.mean(gaussian.kl(moments))


def memory(function, *given):
    """Bytes that the compiled function needs for arguments of these shapes."""
    found = jax.jit(function).lower(*given).compile().memory_analysis()
    return {
        "arguments": found.argument_size_in_bytes,
        "results": found.output_size_in_bytes,
        "temporary": found.temp_size_in_bytes,
    }


def report(variant, shape, batch_size, precision):
    """What is printed, as a dict; `shape` is [H, W, C]."""
    values = autoencoder_kl.VARIANTS[variant]
    network = registry.create("autoencoder_kl", values, shape, 0, precision)
    images = jax.ShapeDtypeStruct((batch_size, *shape), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(network.init, key, images)["params"]
    leaves = jax.tree.leaves(params)
    gradient = jax.grad(lambda params, images, key: loss(network, params, images, key))
    return {
        "variant": variant,
        "shape": list(shape),
        "batch_size": batch_size,
        "precision": precision,
        "backend": jax.default_backend(),
        "parameters": sum(leaf.size for leaf in leaves),
        "parameter_bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in leaves),
        "forward_bytes": memory(lambda p, x: network.apply({"params": p}, x), params, images),
        "gradient_bytes": memory(gradient, params, images, key),
    }


def main(_):
    shape = (IMAGE_SIZE.value, IMAGE_SIZE.value, CHANNELS.value)
    found = report(VARIANT.value, shape, BATCH_SIZE.value, PRECISION.value)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    cli.run(main)

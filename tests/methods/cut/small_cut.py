"""A small CUT of 16x16 images, its data, and a state whose weights are all random."""

import dataclasses

import facts
import jax
import jax.numpy as jnp
import numpy as np
import optax

from configs import base
from drifting import methods
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Pixels

COUNTS = (8, 12)  # images of either domain
SPACE = Pixels((16, 16, 3))
FACTS = facts.make(SPACE, 2, sum(COUNTS), class_counts=COUNTS)
SMALL = {
    "model.width": 4,
    "model.blocks": 2,
    "discriminator.width": 4,
    "discriminator.layers": 1,
    "method.batch_size": 2,
    "method.crop_scale": 1.0,
    "method.color_jitter": 0.0,
    "method.taps": ("pad", "down_2", "block_1"),
    "method.num_patches": 6,
    "method.patch_width": 8,
    "train.total_steps": 10,
}
PLAIN = {"method.identity_weight": 0.0, "method.r1_gamma": 0.0, "method.diff_augment": ()}


def make(made_of=FACTS, frozen=None, **changed):
    """The method; `changed` holds values by dotted key."""
    config = base.of("cut")
    config.update_from_flattened_dict(SMALL | changed)
    return methods.create(config, made_of, frozen)


def data():
    """Images whose domains differ: the target domain is brighter."""
    draw = np.random.default_rng(0).integers
    images = [draw(low, low + 128, (n, 16, 16, 3)) for low, n in zip((0, 128), COUNTS, strict=True)]
    labels = np.repeat([0, 1], COUNTS)
    images = np.concatenate(images).astype(np.uint8)
    return ImageSet(images, labels, ("dark", "bright"), "made", "train", SPACE).to_device()


def random_state(method):
    """The kernels of a fresh state are so small that much of the output is the same."""
    state = jax.jit(method.init)(jax.random.key(0))
    leaves, tree = jax.tree.flatten(state.params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [x + 0.2 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    params = jax.tree.unflatten(tree, drawn)
    ema = {"generator": jax.tree.map(jnp.array, params["generator"])}
    return state.replace(params=params, ema_params=ema)


def descending(method, state):
    """The method and the state with updates that are the gradients: params before - after."""
    names = dict.fromkeys(method.optimizers, optax.sgd(1.0))
    opt_state = {name: optax.sgd(1.0).init(state.params[name]) for name in names}
    return dataclasses.replace(method, optimizers=names), state.replace(opt_state=opt_state)


def assert_close(found, expected, rtol=1e-4):
    """Up to rounding of the largest value: some gradients are nothing else."""
    most = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(expected))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-5 * most), found, expected
    )


def assert_equal(found, expected):
    """Bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, found, expected)

"""The field of many classes on many devices: the same loss, and features stay where they are."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from drifting.methods import gradients
from drifting.methods.drifting import regression, targets
from drifting.methods.drifting.settings import Settings
from drifting.training import mesh as mesh_lib

SIZES = dict(num_generated=4, num_positives=4, num_unconditional=2)
PLACES, DIMENSION = (1, 6), 5  # of two features


def stacks(classes):
    """Samples, positives and negatives of two features, and guidance scales."""
    rng = np.random.default_rng(0)
    features = [
        tuple(
            rng.normal(size=(places, classes * n, DIMENSION)).astype(np.float32)
            for n in SIZES.values()
        )
        for places in PLACES
    ]
    return features, np.linspace(1.0, 3.0, classes, dtype=np.float32)


def program(classes):
    settings = Settings(classes_per_step=classes, **SIZES)

    def loss(features, cfg_scale):
        valid = jnp.ones(classes)
        found, _, _ = targets.of_stacks(settings, None, None, features, cfg_scale, valid)
        weight = regression.weights(valid, settings.num_generated)
        phi = tuple(generated for generated, *_ in features)
        return jax.value_and_grad(lambda phi: regression.loss(phi, found, weight))(phi)

    return loss


def on(data, fsdp, classes):
    """The compiled loss and gradient on data * fsdp devices, and its arguments."""
    mesh = mesh_lib.make_mesh(data, fsdp, (8,))
    features, cfg_scale = stacks(classes)
    where = NamedSharding(mesh, PartitionSpec(None, mesh.axis_names))
    arguments = jax.device_put(features, where), jax.device_put(cfg_scale)
    with jax.set_mesh(mesh):
        return jax.jit(program(classes)).lower(*arguments).compile(), arguments


@pytest.mark.parametrize("classes", [8, 10])
def test_losses_do_not_depend_on_the_number_of_devices(classes):
    def loss_and_gradient(data, fsdp):
        compiled, arguments = on(data, fsdp, classes)
        return jax.device_get(compiled(*arguments))

    expected, gradient = loss_and_gradient(1, 1)
    assert expected > 0.1
    for mesh in [(2, 1), (4, 1), (2, 2), (8, 1), (2, 4)]:
        if classes * 2 % (mesh[0] * mesh[1]):
            continue  # the negatives of all classes do not divide
        found, found_gradient = loss_and_gradient(*mesh)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        for a, b in zip(found_gradient, gradient, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_chunks_of_a_batch_stay_where_they_are():
    mesh = mesh_lib.make_mesh(8, 1, (48,))
    whole = jax.device_put(jnp.arange(48.0), NamedSharding(mesh, PartitionSpec(mesh.axis_names)))

    def halves(x):
        stacks = jax.lax.map(lambda part: part[None, :, None] ** 2, gradients.in_chunks(x, 2))
        return regression._unchunk(stacks)

    with jax.set_mesh(mesh):
        compiled = jax.jit(halves).lower(whole).compile()
    assert communicated(compiled) == []
    np.testing.assert_array_equal(compiled(whole)[0, :, 0], np.arange(48.0) ** 2)


def communicated(compiled):
    """The number of values in the result of each collective operation."""
    text = compiled.as_text()
    kinds = "all-gather|all-to-all|collective-permute|reduce-scatter|all-reduce"
    results = re.findall(rf"= \(?(.*?)\)? (?:{kinds})(?:-start)?\(", text)
    shapes = (re.findall(r"\w+\[([\d,]*)\]", result) for result in results)
    return [sum(np.prod([int(n) for n in s.split(",") if n]) for s in found) for found in shapes]


def test_only_means_are_communicated_where_the_devices_divide_the_classes():
    compiled, _ = on(4, 2, classes=16)
    moved = communicated(compiled)
    assert moved and max(moved) <= 10  # scales and force norms
    # With ten classes some sets have their points on several devices, which have to be gathered.
    gathered, _ = on(4, 1, classes=10)
    assert max(communicated(gathered)) > 10

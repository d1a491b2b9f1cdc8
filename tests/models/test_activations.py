"""Feature stacks: which maps, which places, in which order, and how exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import activations
from models.activations import Activations


def network(*shapes, dtype=np.float32, offset=0.0, names=("stem",)):
    """Activations of three images with random maps of the shapes [h, w, C]."""
    generator = np.random.default_rng(0)
    maps = {
        name: jnp.asarray(offset + generator.standard_normal((3, *shape)), dtype)
        for name, shape in zip(names, shapes, strict=True)
    }
    return Activations(jnp.zeros((3, 2)), jnp.zeros((3, 4)), maps)


def slow_patches(x, size):
    """Mean and standard deviation [S, B, C] in float64, patch by patch."""
    x = np.asarray(x, np.float64)
    rows, columns = range(0, x.shape[1], size), range(0, x.shape[2], size)
    patches = [x[:, i : i + size, j : j + size] for i in rows for j in columns]
    mean = np.stack([p.mean((1, 2)) for p in patches])
    return mean, np.sqrt(np.stack([p.var((1, 2)) for p in patches]) + 1e-6)


def test_pooled_stacks_are_the_means_of_the_stages():
    names = ["stem", "stage1_block1", "stage1", "stage2_block1", "stage2"]
    out = network(*[(4, 2, c) for c in (5, 5, 5, 7, 7)], names=names)
    stacks = activations.pooled_stacks(out)
    assert [s.shape for s in stacks] == [(1, 3, 5), (1, 3, 7)]
    for stack, name in zip(stacks, ("stage1", "stage2"), strict=True):
        np.testing.assert_allclose(stack[0], out.maps[name].mean((1, 2)), atol=1e-6)


def test_location_stacks_patch_by_patch():
    out = network((4, 8, 5))
    x = out.maps["stem"]
    own, mean, std, *patches = activations.location_stacks(out, 0)
    np.testing.assert_array_equal(own[8 + 2], x[:, 1, 2])  # second row, third column
    np.testing.assert_allclose(mean[0], x.mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(std[0], np.sqrt(np.var(x, (1, 2)) + 1e-6), rtol=1e-5)
    expected = [*slow_patches(x, 2), *slow_patches(x, 4)]
    for ours, theirs in zip(patches, expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side,count", [((3, 3), 3), ((6, 6), 5), ((4, 6), 5), ((4, 4), 7)])
def test_only_patches_that_divide_both_sides(side, count):
    assert len(activations.location_stacks(network((*side, 2)), 0)) == count


@pytest.mark.parametrize(
    "every_block,widths", [(0, [1, 5, 7]), (1, [1, 2, 3, 4, 5, 6, 7]), (2, [1, 3, 5, 7])]
)
def test_blocks_counted_from_one_in_each_stage(every_block, widths):
    names = ["stem", *(f"stage1_block{j}" for j in (1, 2, 3)), "stage1", "stage2_block1", "stage2"]
    out = network(*[(1, 1, c) for c in range(1, 8)], names=names)
    stacks = activations.location_stacks(out, every_block)
    assert [s.shape[2] for s in stacks[::3]] == widths


def test_order_of_depth_survives_jit():
    names = ["stem", "stage1_block2", "stage1_block10", "stage1", "stage2", "stage10"]
    out = network(*[(1, 1, c) for c in range(1, 7)], names=names)
    sorted_by_name = jax.jit(lambda out: out)(out)
    assert list(sorted_by_name.maps) != names
    stacks = activations.location_stacks(sorted_by_name, 1)
    assert [s.shape[2] for s in stacks[::3]] == [1, 2, 3, 4, 5, 6]
    assert [s.shape[2] for s in activations.pooled_stacks(sorted_by_name)] == [4, 5, 6]


def test_deviations_far_from_zero_are_exact():
    out = network((4, 4, 2), offset=3000.0)
    stacks = activations.location_stacks(out, 0)
    np.testing.assert_allclose(stacks[4], slow_patches(out.maps["stem"], 2)[1], rtol=1e-3)


def test_a_constant_map_has_deviation_1e_3_and_no_gradient():
    out = network((4, 4, 2))

    def total(x):
        stacks = activations.location_stacks(out._replace(maps={"stem": x}), 0)
        return sum(jnp.sum(s) for s in stacks[2::2]), stacks[2]

    grad, std = jax.grad(total, has_aux=True)(jnp.full((3, 4, 4, 2), 0.7))
    np.testing.assert_allclose(std, 1e-3, rtol=1e-2)
    np.testing.assert_allclose(grad, 0.0, atol=1e-3)


def test_stacks_of_bfloat16_maps_are_float32():
    out = network((4, 4, 2), dtype=jnp.bfloat16)
    stacks = activations.location_stacks(out, 0)
    assert {s.dtype for s in stacks} == {jnp.dtype("float32")}
    mean, _ = slow_patches(out.maps["stem"].astype(jnp.float32), 4)
    np.testing.assert_allclose(stacks[1], mean, atol=1e-6)


def test_input_stacks():
    x = jax.random.normal(jax.random.key(0), (2, 4, 6, 3))
    norm, pixels = activations.input_stacks(x, 2)
    np.testing.assert_array_equal(pixels[0, 1], x[1].ravel())
    assert norm.shape == (1, 2, 12)
    squares = [(x[:, i::2, j::2] ** 2).mean((1, 2)) for i in (0, 1) for j in (0, 1)]
    np.testing.assert_allclose(norm[0], np.sqrt(np.concatenate(squares, -1) + 1e-6), rtol=1e-5)


def test_a_head_is_left_out():
    out = network((1, 1, 2), (1, 1, 9), names=["stage1", "head"])
    assert [s.shape[2] for s in activations.location_stacks(out, 1)] == [2, 2, 2]
    assert [s.shape[2] for s in activations.pooled_stacks(out)] == [2]

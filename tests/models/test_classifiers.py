"""Sizes, maps, norms and randomness of the classifiers; tests/weights has torchvision's numbers."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from drifting.core.errors import ConfigError
from models import classifiers, convnext
from models.convnext import ConvNeXt
from models.layers.convolution import kaiming_normal
from models.mobilenet_v2 import round_channels
from models.resnet import ResNet

# The smallest network of each family.
TINY = {"mobilenetv2": 0.25, "resnet18": 0.125, "convnext_tiny": 1 / 12}


def images(size, count=4, seed=0):
    return jax.random.normal(jax.random.key(seed), (count, size, size, 3))


def shapes_of(network, size):
    """(activations, variables) of one image, as shapes."""
    init = functools.partial(network.init_with_output, train=False)
    return jax.eval_shape(init, jax.random.key(0), images(size, 1))


def init(network, size):
    """Variables that are drawn, not only declared."""
    return jax.jit(functools.partial(network.init, train=False))(jax.random.key(0), images(size))


@pytest.mark.parametrize(
    "name,count",
    [
        ("mobilenetv2", 3_504_872),
        ("resnet18", 11_689_512),
        ("resnet50", 25_557_032),
        ("convnext_tiny", 28_589_128),
    ],
)
def test_parameter_counts_are_torchvisions(name, count):
    _, variables = shapes_of(classifiers.create(name, 1000, 224), 224)
    assert sum(math.prod(p.shape) for p in jax.tree.leaves(variables["params"])) == count


@pytest.mark.parametrize(
    "name,size,stem,last,channels",
    [
        ("resnet18", 32, 32, 4, 512),
        ("resnet18", 64, 32, 4, 512),
        ("resnet50", 64, 32, 4, 2048),
        ("resnet50", 224, 56, 7, 2048),
        ("mobilenetv2", 32, 32, 4, 320),
        ("mobilenetv2", 64, 64, 4, 320),
        ("mobilenetv2", 224, 112, 7, 320),
        ("convnext_tiny", 32, 16, 2, 768),
        ("convnext_tiny", 64, 32, 4, 768),
        ("convnext_tiny", 224, 56, 7, 768),
    ],
)
def test_stems_leave_a_map_to_work_on(name, size, stem, last, channels):
    found, _ = shapes_of(classifiers.create(name, 10, size), size)
    stages = [m for m in found.maps if m.startswith("stage") and "_" not in m]
    assert found.maps["stem"].shape[:3] == (1, stem, stem)
    assert found.maps[stages[-1]].shape == (1, last, last, channels)
    assert found.logits.shape == (1, 10)


def test_images_too_small_for_convnext_are_refused():
    shapes_of(classifiers.create("convnext_tiny", 10, 16), 16)
    with pytest.raises(ValueError, match="ConvNeXt needs images of 16 pixels or more"):
        shapes_of(classifiers.create("convnext_tiny", 10, 8), 8)


def test_stems_change_at_32_and_64():
    assert [classifiers.stem_for(s) for s in (28, 32, 33, 64, 65)] == [
        "small", "small", "medium", "medium", "imagenet"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name,blocks,after",
    [
        ("resnet18", (2, 2, 2, 2), ()),
        ("mobilenetv2", (1, 2, 3, 4, 3, 3, 1), ("head",)),
        ("convnext_tiny", (3, 3, 9, 3), ()),
    ],
)
def test_maps_are_named_in_order_of_depth(name, blocks, after):
    network = classifiers.create(name, 10, 32)
    expected = ["stem"]
    for i, count in enumerate(blocks, start=1):
        expected += [f"stage{i}_block{j}" for j in range(1, count + 1)] + [f"stage{i}"]
    names = []

    def trace(x):  # what leaves a traced function is sorted by name
        found, _ = network.init_with_output(jax.random.key(0), x, train=False)
        names.extend(found.maps)

    jax.eval_shape(trace, images(32, 1))
    assert names == [*expected, *after]


def test_width_multiplies_channels():
    found, _ = shapes_of(classifiers.create("resnet18", 10, 32, width=0.25), 32)
    assert found.maps["stem"].shape == (1, 32, 32, 16) and found.pooled.shape == (1, 128)
    with pytest.raises(ValueError, match="width 0.3 turns 64 channels into 19.2; .* of 1/64"):
        classifiers.create("resnet18", 10, 32, width=0.3)
    with pytest.raises(ValueError, match="channels into 0;"):
        classifiers.create("convnext_tiny", 10, 32, width=0.0)


def test_mobilenet_rounds_channels_as_published():
    """Widths of the published networks 0.35, 0.5, 0.75 and 1.4."""
    rounded = [round_channels(c) for c in (0.35 * 16, 0.35 * 24, 0.5 * 24, 0.75 * 24, 1.4 * 320)]
    assert rounded == [8, 8, 16, 24, 448]
    assert round_channels(11.2) == 16  # 8 would lose more than a tenth


def test_unknown_norms_stems_and_names_are_refused():
    with pytest.raises(ConfigError, match="config.model.norm = 'layer' is not one of .'batch', "):
        classifiers.create("resnet18", 10, 32, norm="layer")
    with pytest.raises(ConfigError, match="config.model.stem = 'smal' .* did you mean 'small'"):
        classifiers.create("resnet18", 10, 32, stem="smal")
    with pytest.raises(ValueError, match="unknown classifier 'resnet-18'"):
        classifiers.create("resnet-18", 10, 32)


def test_batch_statistics_are_those_of_the_whole_sharded_batch():
    network = ResNet(5, blocks=(1,), width=8, stem="small")
    # Every device sees images of another scale.
    x = images(8, 16) * jnp.arange(1.0, 17.0)[:, None, None, None]
    variables = init(network, 8)

    @jax.jit
    def apply(x):
        found, changed = network.apply(variables, x, train=True, mutable="batch_stats")
        return found.logits, changed

    mesh = Mesh(np.array(jax.devices()), ("data",))
    sharded = apply(jax.device_put(x, NamedSharding(mesh, PartitionSpec("data"))))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-4),
                 sharded, apply(x))  # fmt: skip


@pytest.mark.parametrize(
    "network",
    [
        ResNet(10, blocks=(1, 1), width=8, stem="small", norm="group"),
        ConvNeXt(10, depths=(1, 1), widths=(8, 16), stem="small"),
    ],
    ids=["resnet", "convnext"],
)
def test_bfloat16_stays_near_float32(network):
    variables = init(network, 16)
    # Larger weights than at the start, so that logits and every block count.
    variables["params"] = jax.tree.map(
        lambda p: p + 0.1 * np.random.default_rng(p.size).standard_normal(p.shape, np.float32),
        variables["params"],
    )
    exact, rounded = [
        jax.jit(functools.partial(network.clone(dtype=dtype).apply, train=False))(
            variables, images(16)
        )
        for dtype in (jnp.float32, jnp.bfloat16)
    ]
    error = np.abs(exact.logits - rounded.logits).max() / np.abs(exact.logits).max()
    assert 1e-5 < error < 0.03


@pytest.mark.parametrize("name", TINY)
def test_parameters_pooled_features_and_logits_are_float32(name):
    network = classifiers.create(name, 10, 32, width=TINY[name], dtype=jnp.bfloat16)
    found, variables = shapes_of(network, 32)
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    assert found.logits.dtype == found.pooled.dtype == jnp.float32
    assert {m.dtype for m in found.maps.values()} == {jnp.dtype(jnp.bfloat16)}


def test_initial_weights_are_torchvisions():
    params = init(ResNet(100, blocks=(1, 1), width=32, stem="small"), 8)["params"]
    kernel = params["stage2_block1"]["conv1"]["conv"]["kernel"]  # 32 channels to 64
    np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / (9 * 64)), rtol=0.02)
    for leaf in params["classifier"].values():
        bound = 1 / np.sqrt(64)
        assert 0.9 * bound < np.abs(leaf).max() <= bound
    flat = traverse_util.flatten_dict(params)
    assert all(np.all(leaf == 1) for path, leaf in flat.items() if path[-1] == "scale")
    depthwise = kaiming_normal(jax.random.key(0), (3, 3, 1, 960))
    np.testing.assert_allclose(np.std(depthwise), np.sqrt(2 / (9 * 960)), rtol=0.05)


def test_stochastic_depth_drops_whole_branches_and_keeps_their_mean():
    block = convnext.Block(drop_rate=0.25)
    x = images(4, 32)
    variables = block.init(jax.random.key(0), x, train=False)
    variables["params"]["layer_scale"] = jnp.ones(3)
    branch = block.apply(variables, x, train=False) - x
    added = block.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)}) - x
    kept = np.any(added != 0, axis=(1, 2, 3))
    assert 0 < kept.sum() < 32
    np.testing.assert_allclose(added[kept], branch[kept] / 0.75, rtol=1e-3, atol=1e-5)
    assert np.all(added[~kept] == 0)


def test_depth_is_dropped_more_often_the_deeper():
    rates = convnext.drop_rates(convnext.DEPTHS, 0.1)
    assert len(rates) == 18 and rates[0] == 0
    np.testing.assert_allclose(rates[-1], 0.1)
    np.testing.assert_allclose(np.diff(rates), 0.1 / 17)


@pytest.mark.parametrize("name", TINY)
def test_randomness_is_asked_for_only_in_training_with_a_rate(name):
    network = classifiers.create(name, 10, 32, width=TINY[name])
    _, variables = shapes_of(network, 32)

    def trace(network, train, **rngs):
        apply = functools.partial(network.apply, train=train, mutable=["batch_stats"], **rngs)
        return jax.eval_shape(apply, variables, images(32, 2))

    trace(network, train=False)
    if name == "resnet18":
        trace(network, train=True)
        return
    with pytest.raises(Exception, match="dropout"):
        trace(network, train=True)
    trace(network, train=True, rngs={"dropout": jax.random.key(0)})
    without = {"mobilenetv2": dict(dropout=0.0), "convnext_tiny": dict(drop_rate=0.0)}[name]
    trace(network.clone(**without), train=True)

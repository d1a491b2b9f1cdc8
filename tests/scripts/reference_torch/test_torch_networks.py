"""The networks of the PyTorch loop compared with ours: parameters, names and outputs."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.pretrained import torchvision
from models import classifiers, registry

torch = pytest.importorskip("torch")
networks = pytest.importorskip("reference_torch.networks")

NAMES = registry.names("classifier")
SLOW_TO_COMPILE = [
    pytest.param(name, marks=[] if name == "resnet18" else pytest.mark.slow) for name in NAMES
]
CLASSES = 7


def shapes_of(name, size, channels, **given):
    """Our network, and the shapes of its variables."""
    network = classifiers.create(name, CLASSES, size, **given)
    init = functools.partial(network.init, train=False)
    return network, jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, size, size, channels)))


def drawn(network, seed=0):
    """The network with weights that keep activations of order one; every array counts."""
    generator = np.random.default_rng(seed)
    state = network.state_dict()
    for key, like in state.items():
        if key.endswith("num_batches_tracked"):
            continue
        z = generator.standard_normal(like.shape, np.float32)
        if z.ndim in (2, 4):
            z *= np.float32(np.sqrt(1.5 / np.prod(like.shape[1:])))
        elif key.endswith(("layer_scale", "running_var", "weight")):
            z = 1 + np.float32(0.2) * np.abs(z)
        else:
            z *= np.float32(0.2)
        state[key] = torch.from_numpy(z)
    network.load_state_dict(state)
    return network


def numpy_state(network):
    return {k: v.detach().numpy().copy() for k, v in network.state_dict().items()}


def test_there_is_every_classifier():
    assert set(networks.NETWORKS) == set(NAMES)


@pytest.mark.parametrize("stem", classifiers.STEMS)
@pytest.mark.parametrize("width,channels", [(1.0, 3), (0.25, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_as_many_and_named_as_torchvisions(name, width, channels, stem):
    _, ours = shapes_of(name, 32, channels, width=width, stem=stem)
    with torch.device("meta"):
        theirs = networks.create(name, CLASSES, channels, 32, width, stem)
    expected = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(ours["params"]))
    assert networks.num_parameters(theirs) == expected
    state = {k: np.empty(v.shape, np.float32) for k, v in theirs.state_dict().items()}
    found = torchvision.to_variables_like(name, state, ours)  # it refuses other names and shapes
    jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), found, {**ours} | {
        "batch_stats": ours.get("batch_stats", {})
    })  # fmt: skip


@pytest.mark.parametrize(  # the small and the medium stem
    "name,size", [*((name, 32) for name in NAMES), ("resnet18", 64),
                  pytest.param("mobilenetv2", 64, marks=pytest.mark.slow),
                  pytest.param("convnext_tiny", 64, marks=pytest.mark.slow)],
)  # fmt: skip
def test_outputs_are_ours(name, size):
    ours, shapes = shapes_of(name, size, 3, width=0.25)
    theirs = drawn(networks.create(name, CLASSES, 3, size, 0.25)).eval()
    x = np.random.default_rng(1).standard_normal((2, size, size, 3), np.float32)
    variables = torchvision.to_variables_like(name, numpy_state(theirs), shapes)
    found = jax.jit(functools.partial(ours.apply, train=False))(variables, x).logits
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    assert np.abs(expected[0] - expected[1]).max() > 0.1  # the images count
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", SLOW_TO_COMPILE)
def test_initial_weights_have_the_deviations_of_ours(name):
    ours, _ = shapes_of(name, 32, 3, width=0.25)
    variables = jax.jit(functools.partial(ours.init, train=False))(
        jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )
    torch.manual_seed(0)
    state = numpy_state(networks.create(name, CLASSES, 3, 32, 0.25))
    theirs = torchvision.to_variables_like(name, state, variables)
    variables = jax.device_get(variables)
    compared = 0
    for a, b in zip(*map(jax.tree.leaves, (theirs["params"], variables["params"])), strict=True):
        if a.size >= 2000:
            compared += 1
            assert np.std(a) == pytest.approx(np.std(b), rel=0.1)
            assert abs(np.max(np.abs(a)) / np.max(np.abs(b)) - 1) < 0.5
        elif np.std(b) == 0:
            np.testing.assert_array_equal(a, b)
    assert compared >= 8


def test_logits_are_float32_under_autocast():
    network = networks.create("resnet18", CLASSES, 3, 32, 0.125).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert network(torch.zeros(1, 3, 32, 32)).dtype == torch.float32
        assert network.conv1(torch.zeros(1, 3, 32, 32)).dtype == torch.bfloat16

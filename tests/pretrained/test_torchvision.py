"""torchvision's classifiers beside ours on the same weights, and what is refused."""

import functools

import jax
import numpy as np
import pytest

from drifting.pretrained import files, torchvision
from drifting.pretrained.files import WeightsError
from models import classifiers

CLASSES = 20
NAMES = {
    "mobilenetv2": "mobilenet_v2",
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "convnext_tiny": "convnext_tiny",
}


@pytest.fixture(scope="module")
def theirs(torchvision):
    """theirs(name) -> torchvision's network with weights that are drawn, not trained."""
    import torch

    def make(name):
        network = getattr(torchvision.models, NAMES[name])(num_classes=CLASSES)
        generator = np.random.default_rng(0)
        state = {k: draw(k, v.numpy(), generator) for k, v in network.state_dict().items()}
        network.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
        return network.eval()

    return make


def draw(key, like, generator):
    """Values that keep activations of order one and in which every array counts."""
    if key.endswith("num_batches_tracked"):
        return like
    z = generator.standard_normal(like.shape, np.float32)
    if like.ndim in (2, 4):
        return z * np.float32(np.sqrt(1.5 / np.prod(like.shape[1:])))
    if key.endswith(("layer_scale", "running_var")) or key.endswith("weight"):
        return 1 + np.float32(0.2) * np.abs(z)
    return np.float32(0.2) * z


def run_theirs(network, x):
    """(logits, pooled) of images [B, H, W, C]."""
    import torch

    seen = {}
    last = [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1]
    last.register_forward_hook(lambda module, args, out: seen.update(pooled=args[0]))
    with torch.no_grad():
        logits = network(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    return logits.numpy(), seen["pooled"].numpy()


def run_ours(name, network, x, **how):
    state = {k: v.numpy().copy() for k, v in network.state_dict().items()}
    variables = torchvision.to_variables(name, state)
    apply = classifiers.create(name, CLASSES, image_size=224).apply
    return jax.jit(functools.partial(apply, **how))(variables, x)


def assert_near(ours, theirs):
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


@pytest.fixture
def x():
    return np.random.default_rng(1).standard_normal((2, 64, 64, 3), np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_torchvisions(name, theirs, x):
    network = theirs(name)
    found = run_ours(name, network, x, train=False)
    logits, pooled = run_theirs(network, x)
    assert np.abs(logits[0] - logits[1]).max() > 0.1  # the images count
    assert_near(found.logits, logits)
    assert_near(found.pooled, pooled)


def test_training_follows_torchvision(theirs, x):
    network = theirs("resnet18").train()
    found, changed = run_ours("resnet18", network, x, train=True, mutable="batch_stats")
    logits, pooled = run_theirs(network, x)
    assert_near(found.logits, logits)
    assert_near(found.pooled, pooled)
    stats = changed["batch_stats"]["stage1_block1"]["conv2"]["norm"]
    state = network.state_dict()
    assert_near(stats["mean"], state["layer1.0.bn2.running_mean"].numpy())
    # PyTorch's running variance is the unbiased one, here of 2 images of 16x16.
    before = theirs("resnet18").state_dict()["layer1.0.bn2.running_var"].numpy()
    after = state["layer1.0.bn2.running_var"].numpy()
    assert_near(stats["var"], 0.9 * before + (after - 0.9 * before) * 511 / 512)


@functools.cache
def made(name, image_size=224):
    shapes = torchvision.state_shapes(name, CLASSES, image_size)
    generator = np.random.default_rng(0)
    return {k: generator.standard_normal(s, np.float32) for k, s in shapes.items()}


@pytest.mark.parametrize(
    "name,arrays,some",
    [
        ("resnet18", 102, {"layer2.0.downsample.1.running_var": (128,), "bn1.bias": (64,)}),
        ("resnet50", 267, {"layer4.2.conv3.weight": (2048, 512, 1, 1)}),
        (
            "mobilenetv2",
            262,
            {
                "features.1.conv.1.weight": (16, 32, 1, 1),
                "features.17.conv.1.0.weight": (960, 1, 3, 3),
                "features.18.1.running_mean": (1280,),
            },
        ),
        (
            "convnext_tiny",
            182,
            {
                "features.5.8.layer_scale": (384, 1, 1),
                "features.6.1.weight": (768, 384, 2, 2),
                "classifier.2.weight": (CLASSES, 768),
            },
        ),
    ],
)
def test_names_and_shapes_are_those_published(name, arrays, some):
    shapes = torchvision.state_shapes(name, CLASSES, 224)
    assert len(shapes) == arrays and some.items() <= shapes.items()


def test_a_stem_for_small_images_is_recognised():
    state = made("resnet18", 32)
    variables = torchvision.to_variables("resnet18", state)
    kernel = variables["params"]["stem"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel[0, 2, 1, 5], state["conv1.weight"][5, 1, 0, 2])
    expected = classifiers.create("resnet18", CLASSES, 32)
    shapes = jax.eval_shape(
        functools.partial(expected.init, train=False), jax.random.key(0), np.zeros((1, 32, 32, 3))
    )
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, shapes)


def test_other_weights_are_refused():
    state = made("resnet18")
    few = {k: v for k, v in state.items() if not k.startswith("layer4.1.")}
    with pytest.raises(WeightsError, match="resnet18: 10 arrays are missing, layer4.1.* among"):
        torchvision.to_variables("resnet18", few)
    with pytest.raises(WeightsError, match="1 arrays are unexpected, layer5.bias among"):
        torchvision.to_variables("resnet18", state | {"layer5.bias": np.zeros(3)})
    with pytest.raises(WeightsError, match=r"bn1.bias has shape \(63,\), resnet18's is \(64,\)"):
        torchvision.to_variables("resnet18", state | {"bn1.bias": np.zeros(63)})
    with pytest.raises(WeightsError, match="missing, fc.bias among them"):
        torchvision.to_variables("resnet18", {k: v for k, v in state.items() if k != "fc.bias"})
    with pytest.raises(ValueError, match="did you mean 'resnet18'"):
        torchvision.to_variables("resnet19", state)


def test_files(tmp_path):
    state = made("resnet18")
    files.write(state, tmp_path / "w.safetensors")
    found = torchvision.read(tmp_path / "w.safetensors")
    assert found.keys() == state.keys()
    np.testing.assert_array_equal(found["fc.weight"], state["fc.weight"])
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="half.safetensors is truncated"):
        torchvision.read(tmp_path / "half.safetensors")
    with pytest.raises(WeightsError, match="no weights at"):
        torchvision.read(tmp_path / "nowhere.pth")
    with pytest.raises(WeightsError, match="unknown kind of weight file"):
        torchvision.read(tmp_path / "w.h5")


def test_pytorch_files(tmp_path):
    torch = pytest.importorskip("torch")
    state = {"conv1.weight": torch.ones(2, 3, 7, 7), "bn1.num_batches_tracked": torch.tensor(4)}
    torch.save(state, tmp_path / "w.pth")
    np.testing.assert_array_equal(
        torchvision.read(tmp_path / "w.pth")["conv1.weight"], np.ones((2, 3, 7, 7))
    )
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "run.pth")
    with pytest.raises(WeightsError, match="not a weight file"):
        torchvision.read(tmp_path / "run.pth")

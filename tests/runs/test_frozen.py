"""Frozen networks of a step: classifiers and torchvision's weights as encoders."""

import jax
import numpy as np
import pytest

import drifting
from drifting import methods
from drifting.core.errors import ConfigError
from drifting.pretrained import encoder as encoders
from drifting.pretrained import files, torchvision
from drifting.runs import build, frozen
from drifting.runs.workdir import Run, WorkdirError
from models import registry


def test_an_encoder_is_the_best_checkpoint_on_its_own(finished_classifier):
    loaded = frozen.load_encoder(str(finished_classifier), (8, 8, 1))
    run = Run(finished_classifier)
    state, _ = run.restore(run.best_step())
    x = jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
    found = loaded.encode(loaded.parameters, x)
    expected = run.method.encode(run.method.encoder(state), x)
    np.testing.assert_array_equal(found.logits, expected.logits)
    rough = frozen.load_encoder(str(finished_classifier), (8, 8, 1), "bfloat16")
    assert rough.identity != loaded.identity
    close = rough.encode(rough.parameters, x).pooled
    np.testing.assert_allclose(close, found.pooled, atol=0.05 * np.abs(found.pooled).max())


def test_an_encoders_parameters_are_no_constants_of_the_step(finished_classifier, small_config):
    config = small_config(**{"method.encoder": str(finished_classifier)})
    images = build.load_images(config)
    networks = frozen.load(config, images.space.shape)
    method = methods.create(config, build.facts_of(images), networks)
    parameters = {name: network.parameters for name, network in networks.items()}
    state = jax.eval_shape(method.init, jax.random.key(0))
    data = jax.eval_shape(lambda: images.to_device())
    traced = jax.make_jaxpr(method.train_step)(state, data, jax.random.key(0), parameters)
    largest = max((np.size(c) for c in traced.consts), default=0)
    assert largest < 100 < sum(x.size for x in jax.tree.leaves(parameters))


@pytest.mark.parametrize(
    "name,message",
    [
        ("nowhere", "Train one with `python train.py"),
        ("torch:resnet19:x.pth", "did you mean 'resnet18'"),
        ("torch:resnet18", "torch:<network>:<file>"),
    ],
)
def test_encoders_that_are_not_there(name, message):
    with pytest.raises(ConfigError, match=message):
        frozen.load_encoder(name, (8, 8, 3))


def test_encoders_that_do_not_fit(finished_classifier, finished_run):
    with pytest.raises(ConfigError, match="trained on images"):
        frozen.load_encoder(str(finished_classifier), (32, 32, 3))
    with pytest.raises(ConfigError, match="which is not an encoder"):
        frozen.load_encoder(str(finished_run), (8, 8, 1))
    with pytest.raises(WorkdirError, match=r"generates no images; its scores are in test.json"):
        drifting.evaluate(finished_classifier, num_samples=80)


def test_torchvisions_weights_as_an_encoder(tmp_path):
    generator = np.random.default_rng(0)
    shapes = torchvision.state_shapes("resnet18", 7, 224)
    state = {k: np.abs(generator.normal(0.1, 0.1, s)).astype(np.float32) for k, s in shapes.items()}
    path = tmp_path / "weights.safetensors"
    files.write(state, path)
    loaded = frozen.load_encoder(f"torch:resnet18:{path}", (32, 32, 3))
    x = jax.random.uniform(jax.random.key(0), (1, 32, 32, 3), minval=-1)
    found = loaded.encode(loaded.parameters, x)
    assert found.logits.shape == (1, 7) and found.maps["stage1"].shape == (1, 8, 8, 64)
    pixels = (np.asarray(x) + 1) / 2
    x = (pixels - encoders.IMAGENET_MEAN) / encoders.IMAGENET_STD
    network = registry.create("resnet18", {}, (224, 224, 3), 7)
    expected = network.apply(loaded.parameters, np.float32(x), train=False)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-4)

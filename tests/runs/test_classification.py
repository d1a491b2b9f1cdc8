"""A classifier from config to test.json, resumed and on many devices, and as an encoder."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

import drifting
from drifting import methods
from drifting.core.errors import ConfigError
from drifting.evaluation import metrics, record
from drifting.pretrained import encoder as encoders
from drifting.pretrained import files, torchvision
from drifting.runs import build, frozen
from drifting.runs.workdir import Run, WorkdirError
from drifting.training import checkpoints, writers
from input_pipeline import splits
from input_pipeline.sources import DataError
from models import registry


@pytest.fixture
def classify(small_classifier, tmp_path):
    """classify(name, **changed) -> workdir of a finished run."""

    def run(name="classifier", **changed):
        drifting.train(small_classifier(**changed), tmp_path / name)
        return tmp_path / name

    return run


def rows(workdir):
    return writers.read_metrics(workdir / "metrics.jsonl")


def final_state(workdir):
    run = Run(workdir)
    return jax.device_get(run.restore(run.steps()[-1])[0])


def test_what_a_run_leaves(classify):
    workdir = classify(**{"train.total_steps": 40})
    found = json.loads((workdir / "test.json").read_text())
    assert found["num_images"] == 300 and np.sum(found["confusion"]) == 300
    assert found["accuracy"] == np.trace(found["confusion"]) / 300 > 0.3
    assert found["parameters"] == sum(x.size for x in jax.tree.leaves(final_state(workdir).params))
    scored = {r["step"]: r["val_accuracy"] for r in rows(workdir) if "val_accuracy" in r}
    assert sorted(scored) == list(range(0, 41, 4))
    assert found["val_accuracy"] == max(scored.values()) == scored[found["step"]]
    wanted = {"loss", "accuracy", "lr", "grad_norm", "epoch_seconds", "images_per_second"}
    assert wanted <= set(rows(workdir)[1])
    for name in ("confusion.png", "curves.png", "samples/step_0000000_augmented.png"):
        assert Image.open(workdir / name).width > 200
    # Kept: the newest and the best.
    steps = checkpoints.valid_steps(workdir / "checkpoints")
    assert set(steps) <= {40, found["step"], 36} and found["step"] in steps


@pytest.mark.slow
def test_validation_images_are_never_trained_on(classify):
    workdir = classify()
    whole = build.load_images(Run(workdir).config)
    split = splits.read(workdir / "split.json")
    assert len(split.val_indices) == 200 and split.num_images == 1497
    facts = Run(workdir).facts
    assert facts.num_samples == 1297
    fit, _ = split.apply(whole)
    np.testing.assert_allclose(facts.mean, np.mean(fit.images / 127.5 - 1.0), rtol=1e-9)


@pytest.mark.slow
def test_a_resumed_run_is_the_run_that_never_stopped(classify, small_classifier, tmp_path):
    whole = classify("whole", **{"train.keep_checkpoints": 9})
    half = tmp_path / "half"
    shutil.copytree(whole, half)
    (half / "test.json").unlink()
    for step in (8, 12):
        shutil.rmtree(half / "checkpoints" / str(step))
    drifting.train(small_classifier(**{"train.keep_checkpoints": 9}), half)
    jax.tree.map(np.testing.assert_array_equal, final_state(half), final_state(whole))
    found, expected = (json.loads((w / "test.json").read_text()) for w in (half, whole))
    assert found["confusion"] == expected["confusion"]


@pytest.mark.slow
def test_a_job_that_died_in_the_test_does_it_again(classify, small_classifier):
    workdir = classify()
    before = json.loads((workdir / "test.json").read_text())
    (workdir / "test.json").unlink()
    drifting.train(small_classifier(), workdir)
    assert json.loads((workdir / "test.json").read_text())["confusion"] == before["confusion"]


@pytest.mark.slow
def test_without_a_test_split_it_is_said_and_the_rest_is_done(classify, tmp_path, caplog):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (300, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(300) % 10)
    with caplog.at_level("WARNING", logger="drifting"):
        workdir = classify(
            **{
                "data.source": f"npz:{tmp_path / 'data.npz'}",
                "data.num_val": 50,
                "train.total_steps": 4,
            }
        )
    assert "there will be no test.json" in caplog.text
    assert not (workdir / "test.json").exists()
    assert len([r for r in rows(workdir) if "val_accuracy" in r]) == 2


def test_a_split_file_of_other_data_is_refused(classify, small_classifier):
    workdir = classify()
    text = (workdir / "split.json").read_text()
    (workdir / "split.json").write_text(text.replace('"seed": 42', '"seed": 43'))
    with pytest.raises(DataError, match="split.json"):
        drifting.train(small_classifier(), workdir)


@pytest.mark.slow
def test_eight_devices_are_one_also_in_batch_statistics(classify):
    common = {"method.batch_size": 64, "train.total_steps": 5, "train.checkpoint_steps": 5}
    one = classify("one", **common)
    eight = classify("eight", **common, **{"mesh.data": 4, "mesh.fsdp": 2})
    losses = [[r["loss"] for r in rows(w) if "loss" in r] for w in (one, eight)]
    assert len(losses[0]) == 5
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    statistics = [final_state(w).extra["batch_stats"] for w in (one, eight)]
    assert jax.tree.leaves(statistics)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *statistics)


# --- as an encoder -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(small_classifier, tmp_path_factory):
    """Workdir of a classifier."""
    workdir = tmp_path_factory.mktemp("encoders") / "classifier"
    drifting.train(small_classifier(), workdir)
    return workdir


def test_an_encoder_is_the_best_checkpoint_on_its_own(encoder):
    loaded = frozen.load_encoder(str(encoder), (8, 8, 1))
    run = Run(encoder)
    state, _ = run.restore(run.best_step())
    x = jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
    found = loaded.encode(loaded.parameters, x)
    expected = run.method.encode(run.method.encoder(state), x)
    np.testing.assert_array_equal(found.logits, expected.logits)
    rough = frozen.load_encoder(str(encoder), (8, 8, 1), "bfloat16")
    assert rough.identity != loaded.identity
    close = rough.encode(rough.parameters, x).pooled
    np.testing.assert_allclose(close, found.pooled, atol=0.05 * np.abs(found.pooled).max())


@pytest.mark.parametrize(
    "kind,stacks",
    [pytest.param("pooled", 2, marks=pytest.mark.slow), ("locations", 2 + 3 * 7)],
)
def test_drifting_in_an_encoders_features(encoder, small_config, tmp_path, kind, stacks):
    values = {
        "method.encoder": str(encoder),
        "method.encoder_features": kind,
        "method.encoder_every_block": 0,
        "train.total_steps": 4,
    }
    config = small_config(**values)
    images = build.load_images(config)
    networks = frozen.load(config, images.space.shape)
    method = methods.create(config, build.facts_of(images), networks)
    parameters = networks["encoder"].parameters
    features = jax.eval_shape(method.features, parameters, jax.numpy.zeros((2, 8, 8, 1)))
    assert len(features) == stacks and all(f.shape[1] == 2 for f in features)
    if kind == "pooled":  # compilation of all locations takes long
        drifting.train(config, tmp_path / "drift")
        found = [r["loss"] for r in rows(tmp_path / "drift")]
        assert len(found) == 4 and np.isfinite(found).all()


def test_an_encoders_parameters_are_no_constants_of_the_step(encoder, small_config):

    config = small_config(**{"method.encoder": str(encoder)})
    images = build.load_images(config)
    networks = frozen.load(config, images.space.shape)
    method = methods.create(config, build.facts_of(images), networks)
    parameters = {name: network.parameters for name, network in networks.items()}
    state = jax.eval_shape(method.init, jax.random.key(0))
    data = jax.eval_shape(lambda: images.to_device())
    traced = jax.make_jaxpr(method.train_step)(state, data, jax.random.key(0), parameters)
    largest = max((np.size(c) for c in traced.consts), default=0)
    assert largest < 100 < sum(x.size for x in jax.tree.leaves(parameters))


@pytest.mark.slow
def test_a_drifting_run_is_scored_in_an_encoders_features(encoder, train):
    workdir = train()
    drifting.evaluate(
        workdir, "last", num_samples=80, features=f"encoder:{encoder}", metrics=[*metrics.known()]
    )
    (row,) = record.read(workdir)
    assert row["features"] == f"encoder:{encoder}" and row["fid_mode"] == ""
    values = {c: float(row[c]) for m in metrics.known().values() for c in m.columns}
    assert np.isfinite(list(values.values())).all()
    assert values["frechet_distance"] > 0 and values["inception_score"] >= 1


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


def test_encoders_that_do_not_fit(encoder, train):
    with pytest.raises(ConfigError, match="trained on images"):
        frozen.load_encoder(str(encoder), (32, 32, 3))
    with pytest.raises(ConfigError, match="which is not an encoder"):
        frozen.load_encoder(str(train()), (8, 8, 1))
    with pytest.raises(WorkdirError, match=r"generates no images; its scores are in test.json"):
        drifting.evaluate(encoder, num_samples=80)


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

"""A classifier from config to test.json, resumed and on many devices, and as an encoder."""

import json
import shutil

import jax
import numpy as np
import pytest
import workdirs
from PIL import Image

import drifting
from drifting import methods
from drifting.evaluation import metrics, record
from drifting.runs import build, frozen
from drifting.runs.workdir import Run
from drifting.training import checkpoints
from input_pipeline import splits
from input_pipeline.sources import DataError


@pytest.fixture
def classify(small_classifier, tmp_path):
    """classify(name, **changed) -> workdir in which the changed `small_classifier` was trained."""

    def run(name="classifier", **changed):
        drifting.train(small_classifier(**changed), tmp_path / name)
        return tmp_path / name

    return run


@pytest.fixture
def classifier_copy(finished_classifier, tmp_path):
    """A copy of `finished_classifier` that a test may change."""
    return shutil.copytree(finished_classifier, tmp_path / "classifier")


def test_what_a_run_leaves(classify):
    workdir = classify(**{"train.total_steps": 40, "train.keep_checkpoints": 1})
    found = json.loads((workdir / "test.json").read_text())
    assert found["num_images"] == 300 and np.sum(found["confusion"]) == 300
    assert found["accuracy"] == np.trace(found["confusion"]) / 300 > 0.3
    parameters = jax.tree.leaves(workdirs.state_of(workdir, 40).params)
    assert found["parameters"] == sum(x.size for x in parameters)
    scored = {r["step"]: r["val_accuracy"] for r in workdirs.rows(workdir) if "val_accuracy" in r}
    assert sorted(scored) == list(range(0, 41, 4))
    assert found["val_accuracy"] == max(scored.values()) == scored[found["step"]]
    wanted = {"loss", "accuracy", "lr", "grad_norm", "epoch_seconds", "images_per_second"}
    assert wanted <= set(workdirs.rows(workdir)[1])
    for name in ("confusion.png", "curves.png", "figures/step_0000000_augmented.png"):
        assert Image.open(workdir / name).width > 200
    # The newest and the best one are kept.
    steps = checkpoints.valid_steps(workdir / "checkpoints")
    assert set(steps) <= {40, found["step"], 36} and found["step"] in steps


@pytest.mark.slow
def test_validation_images_are_never_trained_on(finished_classifier):
    run = Run(finished_classifier)
    whole = build.load_images(run.config)
    split = splits.read(finished_classifier / "split.json")
    assert len(split.val_indices) == 200 and split.num_images == 1497
    facts = run.facts
    assert facts.num_samples == 1297
    fit, _ = split.apply(whole)
    np.testing.assert_allclose(facts.mean, np.mean(fit.images / 127.5 - 1.0), rtol=1e-9)


def test_a_run_trained_further_can_be_tested_at_a_checkpoint_from_before(
    finished_classifier, classifier_copy, small_classifier
):
    drifting.train(small_classifier(**{"train.total_steps": 13}), classifier_copy)
    run = Run(classifier_copy)
    assert [run.at(step).config.train.total_steps for step in (4, 13)] == [12, 13]
    states = run.restore(4)[0], workdirs.state_of(finished_classifier, 4)
    jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.slow
def test_a_resumed_run_is_the_run_that_never_stopped(
    finished_classifier, classifier_copy, small_classifier
):
    (classifier_copy / "test.json").unlink()
    for step in (8, 12):
        shutil.rmtree(classifier_copy / "checkpoints" / str(step))
    drifting.train(small_classifier(), classifier_copy)
    both = classifier_copy, finished_classifier
    states = [workdirs.state_of(workdir, 12) for workdir in both]
    jax.tree.map(np.testing.assert_array_equal, *states)
    found, expected = (json.loads((w / "test.json").read_text()) for w in both)
    assert found["confusion"] == expected["confusion"]


@pytest.mark.slow
def test_a_job_that_died_in_the_test_does_it_again(classifier_copy, small_classifier):
    path = classifier_copy / "test.json"
    before = json.loads(path.read_text())
    path.unlink()
    drifting.train(small_classifier(), classifier_copy)
    assert json.loads(path.read_text())["confusion"] == before["confusion"]


@pytest.mark.slow
def test_without_a_test_split_a_warning_is_logged_and_the_rest_is_done(classify, tmp_path, caplog):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (300, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(300) % 10)
    with caplog.at_level("WARNING", logger="drifting"):
        data = {"data.source": f"npz:{tmp_path / 'data.npz'}", "data.num_val": 50}
        workdir = classify(**data, **{"train.total_steps": 4})
    assert "there will be no test.json" in caplog.text
    assert not (workdir / "test.json").exists()
    assert len([r for r in workdirs.rows(workdir) if "val_accuracy" in r]) == 2


def test_a_split_file_of_other_data_is_refused(classifier_copy, small_classifier):
    path = classifier_copy / "split.json"
    path.write_text(path.read_text().replace('"seed": 42', '"seed": 43'))
    with pytest.raises(DataError, match="split.json"):
        drifting.train(small_classifier(), classifier_copy)


@pytest.mark.slow
def test_eight_devices_are_one_also_in_batch_statistics(classify):
    common = {"method.batch_size": 64, "train.total_steps": 5, "train.checkpoint_steps": 5}
    one = classify("one", **common)
    eight = classify("eight", **common, **{"mesh.data": 4, "mesh.fsdp": 2})
    losses = [workdirs.losses(workdir) for workdir in (one, eight)]
    assert len(losses[0]) == 5
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    statistics = [workdirs.state_of(w, 5).extra["batch_stats"] for w in (one, eight)]
    assert jax.tree.leaves(statistics)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *statistics)


# --- as an encoder -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind,stacks",
    [pytest.param("pooled", 2, marks=pytest.mark.slow), ("locations", 2 + 3 * 7)],
)
def test_drifting_in_an_encoders_features(
    finished_classifier, small_config, tmp_path, kind, stacks
):
    features = {"method.encoder_features": kind, "method.encoder_every_block": 0}
    encoder = {"method.encoder": str(finished_classifier)}
    config = small_config(**encoder, **features, **{"train.total_steps": 4})
    images = build.load_images(config)
    networks = frozen.load(config, images.space.shape)
    method = methods.create(config, build.facts_of(images), networks)
    parameters = networks["encoder"].parameters
    features = jax.eval_shape(method.features, parameters, jax.numpy.zeros((2, 8, 8, 1)))
    assert len(features) == stacks and all(f.shape[1] == 2 for f in features)
    if kind == "pooled":  # compilation of all locations takes long
        drifting.train(config, tmp_path / "drift")
        found = workdirs.losses(tmp_path / "drift")
        assert len(found) == 4 and np.isfinite(found).all()


@pytest.mark.slow
def test_a_drifting_run_is_scored_in_an_encoders_features(finished_classifier, run_copy):
    features, chosen = f"encoder:{finished_classifier}", [*metrics.known()]
    drifting.evaluate(run_copy, "last", num_samples=80, features=features, metrics=chosen)
    (row,) = record.read(run_copy)
    assert row["features"] == features and row["fid_mode"] == ""
    assert row["kid_std"] is None  # subsets are whole sets
    columns = {c for m in metrics.known().values() for c in m.columns} - {"kid_std"}
    values = {c: float(row[c]) for c in columns}
    assert np.isfinite(list(values.values())).all()
    assert values["frechet_distance"] > 0 and values["inception_score"] >= 1

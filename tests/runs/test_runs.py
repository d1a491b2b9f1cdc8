"""From config to workdir to scores and samples, on a run of seconds; and what is refused."""

import csv
import json
import logging
import time

import jax
import numpy as np
import pytest
from PIL import Image

import drifting
from drifting.core.errors import ConfigError
from drifting.evaluation.metrics import chosen
from drifting.pretrained import files, inception
from drifting.runs.workdir import WorkdirError
from drifting.training import checkpoints, integrity, writers
from drifting.training.checkpoints import CheckpointError
from input_pipeline.sources import DataError


def truncate_newest(workdir):
    step = checkpoints.valid_steps(workdir / "checkpoints")[-1]
    files = [f for f in (workdir / "checkpoints" / str(step)).rglob("*") if f.is_file()]
    largest = max(files, key=lambda f: f.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])
    return step


def losses(workdir):
    return [row["loss"] for row in writers.read_metrics(workdir / "metrics.jsonl")]


def sample(workdir, num, out, **changed):
    given = dict(labels=None, cfg_scale=None, batch_size=None, seed=42, ema=True)
    return drifting.sample(workdir, num, out, **given | changed)


def evaluate(workdir, which="all", skip_existing=False, **changed):
    given = dict(num_samples=80) | changed
    drifting.evaluate(workdir, which, skip_existing=skip_existing, **given)
    with open(workdir / "eval" / "fid_metrics.csv") as file:
        return list(csv.DictReader(file))


# --- training ------------------------------------------------------------------------------------


def test_config_json_tells_how_to_repeat_the_run(train):
    facts = json.loads((train() / "config.json").read_text())
    assert facts["config"]["train"]["total_steps"] == 12
    assert facts["versions"]["jax"] == jax.__version__
    assert facts["device_kind"] == "cpu"
    assert len(facts["data_fingerprint"]) >= 16


@pytest.mark.parametrize("left", ["notes.txt", "config.json", "checkpoints/4/state/d"])
def test_files_without_a_checkpoint_are_never_started_over(small_config, tmp_path, left):
    path = tmp_path / left
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    with pytest.raises(WorkdirError, match="holds files but no finished checkpoint"):
        drifting.train(small_config(), tmp_path)
    assert path.read_text() == "mine"


def test_another_model_or_data_set_is_refused_with_its_keys(train, small_config):
    workdir = train()
    before = (workdir / "config.json").read_bytes()
    changed = small_config(**{"model.num_registers": 5, "data.flip": True})
    with pytest.raises(ConfigError) as error:
        drifting.train(changed, workdir)
    assert "config.model.num_registers: 4 -> 5" in str(error.value)
    assert "config.data.flip: False -> True" in str(error.value)
    assert (workdir / "config.json").read_bytes() == before


@pytest.mark.slow
def test_another_learning_rate_is_said_and_taken(train, caplog):
    train(**{"train.total_steps": 4})
    with caplog.at_level(logging.WARNING, logger="drifting"):
        train(**{"optimizer.learning_rate": 1e-3})
    assert "changed config.optimizer.learning_rate: 0.002 -> 0.001" in caplog.text


def test_an_unwritable_workdir(small_config, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WorkdirError, match="cannot write to the workdir .*choose another"):
        drifting.train(small_config(), tmp_path / "file" / "run")


@pytest.mark.parametrize(
    "changed,message",
    [
        ({"data.source": "npz:/nowhere/images.npz"}, "no file /nowhere/images.npz"),
        ({"method.num_positives": 200}, "fewer images than the 200 .*: 0 .148."),
    ],
)
def test_data_that_cannot_serve_leaves_the_workdir_empty(small_config, tmp_path, changed, message):
    with pytest.raises(DataError, match=message):
        drifting.train(small_config(**changed), tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_truncated_newest_checkpoint_costs_only_its_steps(train, caplog):
    whole = train("whole")
    workdir = train("parts", **{"train.total_steps": 8})
    truncate_newest(workdir)
    with caplog.at_level(logging.WARNING, logger="drifting"):
        train("parts")
    assert "falling back to the checkpoint of step 4" in caplog.text
    assert losses(workdir) == losses(whole)
    assert len(list((workdir / "damaged_checkpoints").iterdir())) == 1


@pytest.mark.slow
def test_a_queue_is_part_of_what_resumes(train):
    queue = {"method.queue_size": 8, "method.queue_push": 16}
    whole = train("whole", **queue)
    train("parts", **queue, **{"train.total_steps": 5})
    assert losses(train("parts", **queue)) == losses(whole)


@pytest.mark.slow
def test_bfloat16_follows_float32(train):
    few = {"train.total_steps": 4}
    full, half = train("full", **few), train("half", **few, **{"precision": "bfloat16"})
    assert losses(full) != losses(half)
    np.testing.assert_allclose(losses(half), losses(full), rtol=0.05)


@pytest.mark.parametrize(
    "source,size,channels",
    [pytest.param("tfds:mnist", 32, 1, marks=pytest.mark.slow), ("tfds:cifar10", 32, 3)],
)
def test_real_images_through_tfds(train, tfds_data_dir, monkeypatch, source, size, channels):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_data_dir))
    shape = {"data.source": source, "data.image_size": size, "data.channels": channels}
    keys = {"data.split": "test", "model.patch_size": 8, "train.total_steps": 3}
    assert np.isfinite(losses(train(**shape, **keys))).all()


# --- evaluation ----------------------------------------------------------------------------------


def test_a_row_a_checkpoint(train):
    workdir = train()
    rows = evaluate(workdir)
    assert [int(r["step"]) for r in rows] == [0, 4, 8, 12]
    assert all(float(r["frechet_distance"]) > 0 for r in rows)
    assert float(rows[-1]["loss"]) == losses(workdir)[-1]
    assert Image.open(workdir / "eval" / "fid_vs_step.png").size[0] > 300
    artifacts = workdir / "eval" / "artifacts" / "ema_cfg1_seed42_step12"
    metadata = json.loads((artifacts / "eval_metadata.json").read_text())
    assert metadata["row"]["frechet_distance"] == float(rows[-1]["frechet_distance"])
    assert metadata["feature_dimension"] == 64


def test_what_is_scored_already_can_be_left_out(train):
    workdir = train()
    evaluate(workdir, "last")
    assert [int(r["step"]) for r in evaluate(workdir, skip_existing=True)] == [12, 0, 4, 8]
    assert len(evaluate(workdir, "4,8", skip_existing=True, cfg_scales=[1.0, 2.0])) == 6


@pytest.mark.slow
def test_raw_and_averaged_weights_differ(train):
    workdir = train()
    evaluate(workdir, "last")
    averaged, raw = evaluate(workdir, "last", ema=False)
    assert (averaged["weights"], raw["weights"]) == ("ema", "raw")
    assert averaged["frechet_distance"] != raw["frechet_distance"]


@pytest.mark.slow
def test_scores_repeat(train):
    workdir = train()
    evaluate(workdir, "last")
    first, second = evaluate(workdir, "last")
    assert first["frechet_distance"] == second["frechet_distance"]
    other = evaluate(workdir, "last", seeds=[1])[-1]
    assert other["frechet_distance"] != first["frechet_distance"]


def test_a_workdir_that_cannot_be_evaluated(train, tmp_path):
    with pytest.raises(ConfigError, match="this is not the workdir of a run"):
        evaluate(tmp_path)
    workdir = train()
    with pytest.raises(ConfigError, match=r"no checkpoint of steps \[5\]; has \[0, 4, 8, 12\]"):
        evaluate(workdir, "4,5")
    with pytest.raises(ConfigError, match="expected last, all, best, or steps"):
        evaluate(workdir, "newest")
    with pytest.raises(ConfigError, match="unknown features 'pixel'"):
        evaluate(workdir, features="pixel")
    with pytest.raises(ConfigError, match="needs two samples or more"):
        evaluate(workdir, num_samples=1)
    with pytest.raises(ConfigError, match="needs the logits of a classifier, .*'pixels'"):
        evaluate(workdir, metrics=["is"])
    with pytest.raises(ConfigError, match="--metrics prdc needs at least 4 samples, got 3"):
        evaluate(workdir, metrics=["prdc"], num_samples=3)
    step = truncate_newest(workdir)
    with pytest.raises(CheckpointError, match=f"{step} cannot be used: .* truncated or changed"):
        evaluate(workdir, "last")
    for folder in (workdir / "checkpoints").iterdir():
        (folder / integrity.MANIFEST).unlink(missing_ok=True)
    with pytest.raises(WorkdirError, match="no finished checkpoint yet"):
        evaluate(workdir)


@pytest.mark.slow
def test_several_seeds_and_the_best_checkpoint(train, caplog):
    workdir = train()
    with caplog.at_level(logging.INFO, logger="drifting"):
        rows = evaluate(workdir, seeds=[1, 2])
    assert [(int(r["step"]), r["seed"]) for r in rows] == [
        (step, seed) for step in (0, 4, 8, 12) for seed in "12"
    ]
    assert "step 12 over 2 seeds: frechet_distance" in caplog.text
    best = min(rows, key=lambda r: float(r["frechet_distance"]))["step"]
    assert evaluate(workdir, "best", seeds=[3])[-1]["step"] == best


@pytest.mark.slow
def test_best_of_nothing(train):
    with pytest.raises(ConfigError, match="no checkpoint has a frechet_distance with these"):
        drifting.evaluate(train(), "best")


@pytest.mark.slow
def test_samples_are_kept_and_removed(train):
    workdir = train()
    samples = workdir / "eval" / "artifacts" / "ema_cfg1_seed42_step12" / "samples"
    evaluate(workdir, "last", save_samples=True)
    assert len(list(samples.iterdir())) == 80
    evaluate(workdir, "last", cleanup_samples=True)
    assert not samples.exists()
    with pytest.raises(ConfigError, match="exclude each other"):
        evaluate(workdir, "last", save_samples=True, cleanup_samples=True)


@pytest.mark.slow
def test_a_running_job_is_watched_to_its_end(train, monkeypatch):
    """While the evaluator sleeps the job goes on."""
    workdir = train(**{"train.total_steps": 8})
    written = json.loads((workdir / "config.json").read_text())
    written["config"]["train"]["total_steps"] = 12
    (workdir / "config.json").write_text(json.dumps(written))
    monkeypatch.setattr(time, "sleep", lambda _: train())
    rows = evaluate(workdir, "last", watch=True)
    assert [int(r["step"]) for r in rows] == [8, 12]


@pytest.mark.slow
def test_every_metric_on_inception_features(train, inception_state, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DRIFTING_CACHE", str(tmp_path / "cache"))
    files.write(inception_state, inception.default_path())
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "few.npz", images=images, labels=np.arange(30) % 10)
    few = {"method.num_generated": 3, "method.num_positives": 3}
    workdir = train(**few, **{"data.source": f"npz:{tmp_path / 'few.npz'}"})
    metrics = ["fid", "kid", "is", "prdc", "mifid", "neighbours"]
    given = dict(metrics=metrics, features="inception", batch_size=15, num_samples=15)
    (row,) = evaluate(workdir, "last", fid_mode="clean", **given)
    columns = [c for metric in chosen(metrics) for c in metric.columns]
    empty = ("nn_distance_heldout", "kid_std")  # none held out, and subsets are whole sets
    values = {c: float(row[c]) for c in columns if c not in empty}
    assert np.isfinite(list(values.values())).all()
    assert row["fid_mode"] == "clean"
    assert "15 samples for 2048 feature dimensions" in caplog.text
    assert len(evaluate(workdir, "last", skip_existing=True, fid_mode="clean", **given)) == 1


def test_two_folders(tmp_path):
    generator = np.random.default_rng(0)
    for name, scale in (("real", 1.0), ("same", 1.0), ("dark", 0.5)):
        (tmp_path / name).mkdir()
        for i in range(30):
            image = (scale * generator.integers(0, 256, (6, 6, 3))).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / name / f"{i}.png")

    def score(fake):
        return drifting.compare(
            tmp_path / "real", tmp_path / fake, features="pixels", metrics=["fid", "kid", "prdc"]
        )

    assert score("real")["frechet_distance"] < 1e-3 < score("same")["frechet_distance"]
    assert score("same")["frechet_distance"] < score("dark")["frechet_distance"]
    assert score("same")["num_fake"] == 30
    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(tmp_path / "dark" / "odd.png")
    with pytest.raises(DataError, match=r"0.png is 6x6, .*odd.png is 6x5"):
        score("dark")
    with pytest.raises(ConfigError, match="unknown metric 'fdi'.*did you mean 'fid'"):
        drifting.compare(tmp_path / "real", tmp_path / "same", metrics=["fdi"])


# --- sampling ------------------------------------------------------------------------------------


def test_three_forms_of_samples(train, tmp_path):
    workdir = train()
    with np.load(sample(workdir, 25, tmp_path / "x.npz")) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    assert images.shape == (25, 8, 8, 1) and images.dtype == np.uint8
    assert labels.dtype == np.int32
    counts = np.bincount(labels, minlength=10)
    assert counts.max() - counts.min() <= 1

    folder = sample(workdir, 25, tmp_path / "folder")
    files = sorted(folder.iterdir())
    assert [f.name for f in files[:2]] == ["000000_0.png", "000001_1.png"]
    stacked = np.stack([np.asarray(Image.open(f)) for f in files])
    np.testing.assert_array_equal(stacked, images[..., 0])

    grid = Image.open(sample(workdir, 25, tmp_path / "x.png"))
    assert grid.width > grid.height
    assert sample(workdir, 4, None) == workdir / "samples.png"


def test_what_samples_depend_on(train, tmp_path):
    workdir = train()

    def images(**changed):
        with np.load(sample(workdir, 12, tmp_path / "x.npz", **changed)) as arrays:
            return arrays["images"], arrays["labels"]

    plain, _ = images()
    np.testing.assert_array_equal(images()[0], plain)
    for changed in (dict(seed=1), dict(ema=False)):
        assert np.any(images(**changed)[0] != plain), changed
    _, labels = images(labels=[0, 3, 7])
    np.testing.assert_array_equal(labels, [0, 3, 7] * 4)


def test_sampling_passes_over_a_damaged_checkpoint(train, tmp_path, caplog):
    workdir = train()
    truncate_newest(workdir)
    with caplog.at_level(logging.INFO, logger="drifting"):
        sample(workdir, 4, tmp_path / "x.png")
    assert "12 cannot be used" in caplog.text
    assert "4 samples of step 8" in caplog.text
    assert (workdir / "checkpoints" / "12").is_dir(), "a reader moves nothing"


def test_samples_that_cannot_be_made(train, tmp_path):
    workdir = train()
    with pytest.raises(WorkdirError, match=r"labels \[10\]: the run has 10 classes"):
        sample(workdir, 4, tmp_path / "x.png", labels=[3, 10])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "000000_3.png").touch()
    with pytest.raises(WorkdirError, match="is not empty"):
        sample(workdir, 4, tmp_path / "full")
    with pytest.raises(WorkdirError, match="cannot write --out"):
        sample(workdir, 4, tmp_path / "full" / "000000_3.png" / "x.npz")

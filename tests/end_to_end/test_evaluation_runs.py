"""Scores of a finished run: one row per checkpoint, repeated, resumed, and what is refused."""

import csv
import json
import logging
import time

import numpy as np
import pytest
import workdirs
from PIL import Image

import drifting
from drifting.core.errors import ConfigError
from drifting.evaluation.metrics import chosen
from drifting.pretrained import files, inception
from drifting.runs.workdir import WorkdirError
from drifting.training import integrity
from drifting.training.checkpoints import CheckpointError
from input_pipeline.sources import DataError


def evaluate(workdir, which="all", skip_existing=False, **changed):
    given = dict(num_samples=80) | changed
    drifting.evaluate(workdir, which, skip_existing=skip_existing, **given)
    with open(workdir / "eval" / "fid_metrics.csv") as file:
        return list(csv.DictReader(file))


def artifacts_of(workdir):
    pattern = "ema_cfg1_seed42_step12_pixels_train_80_*"
    return list((workdir / "eval" / "artifacts").glob(pattern))


def test_one_row_per_checkpoint(run_copy):
    rows = evaluate(run_copy)
    assert [int(r["step"]) for r in rows] == [0, 4, 8, 12]
    assert all(float(r["frechet_distance"]) > 0 for r in rows)
    assert float(rows[-1]["loss"]) == workdirs.losses(run_copy)[-1]
    assert Image.open(run_copy / "eval" / "fid_vs_step.png").size[0] > 300
    (artifacts,) = artifacts_of(run_copy)
    metadata = json.loads((artifacts / "eval_metadata.json").read_text())
    assert metadata["row"]["frechet_distance"] == float(rows[-1]["frechet_distance"])
    assert metadata["feature_dimension"] == 64


def test_what_is_scored_already_can_be_left_out(run_copy):
    evaluate(run_copy, "last")
    assert [int(r["step"]) for r in evaluate(run_copy, skip_existing=True)] == [12, 0, 4, 8]
    assert len(evaluate(run_copy, "4,8", skip_existing=True, cfg_scales=[1.0, 2.0])) == 6


@pytest.mark.slow
def test_raw_and_averaged_weights_differ(run_copy):
    evaluate(run_copy, "last")
    averaged, raw = evaluate(run_copy, "last", ema=False)
    assert (averaged["weights"], raw["weights"]) == ("ema", "raw")
    assert averaged["frechet_distance"] != raw["frechet_distance"]


@pytest.mark.slow
def test_scores_repeat(run_copy):
    evaluate(run_copy, "last")
    first, second = evaluate(run_copy, "last")
    assert first["frechet_distance"] == second["frechet_distance"]
    other = evaluate(run_copy, "last", seeds=[1])[-1]
    assert other["frechet_distance"] != first["frechet_distance"]


def test_a_workdir_that_cannot_be_evaluated(run_copy, tmp_path):
    with pytest.raises(ConfigError, match="this is not the workdir of a run"):
        evaluate(tmp_path)
    with pytest.raises(ConfigError, match=r"no checkpoint of steps \[5\]; has \[0, 4, 8, 12\]"):
        evaluate(run_copy, "4,5")
    with pytest.raises(ConfigError, match="expected last, all, best, or steps"):
        evaluate(run_copy, "newest")
    with pytest.raises(ConfigError, match="unknown features 'pixel'"):
        evaluate(run_copy, features="pixel")
    with pytest.raises(ConfigError, match="needs two samples or more"):
        evaluate(run_copy, num_samples=1)
    with pytest.raises(ConfigError, match="needs the logits of a classifier, .*'pixels'"):
        evaluate(run_copy, metrics=["is"])
    with pytest.raises(ConfigError, match="--metrics prdc needs at least 4 samples, got 3"):
        evaluate(run_copy, metrics=["prdc"], num_samples=3)
    step = workdirs.truncate_newest_checkpoint(run_copy)
    with pytest.raises(CheckpointError, match=f"{step} cannot be used: .* truncated or changed"):
        evaluate(run_copy, "last")
    for folder in (run_copy / "checkpoints").iterdir():
        (folder / integrity.MANIFEST).unlink(missing_ok=True)
    with pytest.raises(WorkdirError, match="no finished checkpoint yet"):
        evaluate(run_copy)


@pytest.mark.slow
def test_several_seeds_and_the_best_checkpoint(run_copy, caplog):
    with caplog.at_level(logging.INFO, logger="drifting"):
        rows = evaluate(run_copy, seeds=[1, 2])
    assert [(int(r["step"]), r["seed"]) for r in rows] == [
        (step, seed) for step in (0, 4, 8, 12) for seed in "12"
    ]
    assert "step 12 over 2 seeds: frechet_distance" in caplog.text
    best = min(rows, key=lambda r: float(r["frechet_distance"]))["step"]
    assert evaluate(run_copy, "best", seeds=[3])[-1]["step"] == best


@pytest.mark.slow
def test_best_of_nothing(run_copy):
    with pytest.raises(ConfigError, match="no checkpoint has a frechet_distance with these"):
        drifting.evaluate(run_copy, "best")


@pytest.mark.slow
def test_samples_are_kept_and_removed(run_copy):
    evaluate(run_copy, "last", save_samples=True)
    (artifacts,) = artifacts_of(run_copy)
    assert len(list((artifacts / "samples").iterdir())) == 80
    evaluate(run_copy, "last", cleanup_samples=True)
    assert not artifacts.exists()
    with pytest.raises(ConfigError, match="exclude each other"):
        evaluate(run_copy, "last", save_samples=True, cleanup_samples=True)


@pytest.mark.slow
def test_a_running_job_is_watched_to_its_end(train, monkeypatch):
    """The job continues while the evaluator sleeps."""
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

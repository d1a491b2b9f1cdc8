"""Flows from end to end: trained in the plane and on digits, sampled, scored, resumed."""

import shutil

import jax
import numpy as np
import pytest
import small_runs
import workdirs

import drifting
from configs import base, meanflow_overfit
from drifting.core.errors import ConfigError
from drifting.evaluation import record
from drifting.runs import build
from drifting.runs.workdir import Run
from drifting.training.mesh import MeshError
from input_pipeline.sources import toy2d

LEARNED = {
    "model.width": 64,
    "model.depth": 3,
    "method.batch_size": 256,
    "method.num_diagnosed": 500,
    "optimizer.schedule": "cosine",
    "optimizer.warmup_steps": 50,
    "train.total_steps": 800,
    "train.log_steps": 100,
    "train.sample_steps": 400,
    "train.checkpoint_steps": 400,
    "train.steps_per_call": 50,
}


@pytest.fixture(scope="module")
def learned(train_once):
    """Read-only workdir of a run that is long enough to learn the eight modes."""
    return train_once(small_runs.meanflow(**LEARNED))


@pytest.fixture
def learned_copy(learned, tmp_path):
    """A copy of `learned` that a test may change."""
    return shutil.copytree(learned, tmp_path / "learned")


def test_one_step_hits_the_modes(learned):
    """The sampler follows time in the direction of training: backwards, 4 % of the points would
    hit a mode. Of noise 14 % do, and of real points 99 %."""
    mixture = toy2d.mixture("gaussians")
    run = Run(learned)
    state, _ = run.restore_last()
    labels = np.zeros(2000, np.int32)

    def share(points):
        return np.mean(mixture.deviations_away(np.asarray(points)).min(axis=1) < 3)

    samples = jax.jit(run.sampler(1.0, ema=True))(state, jax.random.key(1), labels)
    assert share(build.load_images(run.config).images) > 0.98
    assert share(samples) > 0.3
    nearest = mixture.deviations_away(np.asarray(samples)).argmin(axis=1)
    assert np.bincount(nearest, minlength=8).min() > 0.03 * len(nearest)  # no mode is missed


def test_what_training_reports(learned):
    rows = [row for row in workdirs.rows(learned) if "energy_distance" in row]
    assert [row["step"] for row in rows] == [0, 400, 800]
    floor = rows[0]["energy_distance_real"]
    assert all(row["energy_distance_real"] == floor for row in rows)  # the same draws
    # Noise has the same mean and variance as the points, so it is near to begin with.
    assert floor < rows[-1]["energy_distance"] < 0.7 * rows[0]["energy_distance"]
    assert rows[-1]["one_step_error"] < rows[1]["one_step_error"]
    assert (learned / "samples" / "step_0000800.png").exists()
    assert (learned / "curves.png").exists()


def test_scores_name_the_sampler_and_its_evaluations(learned_copy):
    drifting.evaluate(learned_copy)
    drifting.evaluate(learned_copy, sampler="heun", sampling_steps=10)
    drifting.evaluate(learned_copy, sampler="heun", sampling_steps=10, skip_existing=True)
    rows = record.read(learned_copy)
    assert [(r["sampler"], r["nfe"]) for r in rows] == [("meanflow-1", 1), ("heun-10", 20)]
    for row in rows:
        assert 0 < row["energy_distance_real"] < row["energy_distance"] < 0.2
    with pytest.raises(ConfigError, match="did you mean 'euler'"):
        drifting.evaluate(learned_copy, sampler="eular")


def test_points_are_written(learned, tmp_path):
    given = dict(labels=None, cfg_scale=None, batch_size=None, seed=1, ema=True)
    path = tmp_path / "points.npz"
    drifting.sample(learned, 10, path, sampler="euler", sampling_steps=3, **given)
    assert np.load(path)["points"].shape == (10, 2)
    with pytest.raises(ConfigError, match="cfg_scale must be 1"):
        drifting.sample(
            learned, 10, path, sampler=None, sampling_steps=None, **given | {"cfg_scale": 2.0}
        )


def test_flow_matching_trains_and_samples_with_steps(tmp_path):
    sampler = {"method.sampler": "euler", "method.sampling_steps": 5}
    config = small_runs.meanflow(**{"method.share_r_neq_t": 0.0, **sampler})
    drifting.train(config, tmp_path / "flow")
    rows = workdirs.rows(tmp_path / "flow")
    assert not any("one_step_error" in row or "error_r_neq_t" in row for row in rows)
    with pytest.raises(ConfigError, match="only instantaneous ones are learned"):
        drifting.evaluate(tmp_path / "flow", sampler="meanflow", sampling_steps=1)


@pytest.mark.slow
def test_images_are_memorised(tmp_path):
    config = meanflow_overfit.get_config()
    values = {
        "data.source": "overfit:4",
        "method.batch_size": 4,
        "mesh.data": 1,
        "model.depth": 2,
        "train.total_steps": 1000,
        "train.tensorboard": False,
    }
    config.update_from_flattened_dict(values)
    drifting.train(config, tmp_path / "run")
    labels = np.arange(40) % 4
    samples = Run(tmp_path / "run").sample(labels, seed=1).astype(np.float32)
    real = build.load_images(config).images.astype(np.float32)
    errors = np.abs(samples[:, None] - real).mean(axis=(2, 3, 4))  # [samples, images], of 255
    np.testing.assert_array_equal(errors.argmin(axis=1), labels)
    # Different images are 37 or more apart.
    assert errors.min(axis=1).mean() < 20


@pytest.mark.slow
def test_a_resumed_run_is_the_one_that_never_stopped(finished_flow, tmp_path):
    for total in (4, 8):
        drifting.train(small_runs.meanflow(**{"train.total_steps": total}), tmp_path / "parts")
    states = [workdirs.state_of(folder, 8) for folder in (finished_flow, tmp_path / "parts")]
    jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.slow  # tests/methods/drifting/test_sharded_field.py has a fast one
def test_losses_do_not_depend_on_the_mesh(finished_flow, tmp_path):
    drifting.train(small_runs.meanflow(**{"mesh.data": 2, "mesh.fsdp": 4}), tmp_path / "many")
    one, many = (workdirs.losses(folder) for folder in (finished_flow, tmp_path / "many"))
    assert len(one) == 8
    np.testing.assert_allclose(many, one, rtol=1e-5)


def test_a_part_that_devices_do_not_divide(tmp_path):
    config = small_runs.meanflow(**{"mesh.data": 8, "method.share_r_neq_t": 0.125})
    with pytest.raises(MeshError, match="4 images per step do not divide over 8 x 1"):
        drifting.train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


SCORED = {
    "mesh.data": 4,
    "train.evaluate": True,
    "eval.features": "pixels",
    "eval.metrics": ("fid", "energy"),
}


def image_config(network, **changed):
    config = base.of("meanflow", network)
    values = (
        small_runs.LOGGED
        | SCORED
        | {
            "data.source": "digits",
            "method.batch_size": 16,
            "method.num_diagnosed": 16,
            "optimizer.warmup_steps": 1,
            "train.total_steps": 2,
            "train.checkpoint_steps": 2,
            "eval.num_samples": 16,
            "eval.batch_size": 16,
        }
    )
    config.update_from_flattened_dict(values | changed)
    return config


@pytest.mark.slow  # tests/end_to_end/test_best_translations.py has a fast one
def test_checkpoints_are_scored_as_they_are_made(tmp_path):
    few = {"eval.num_samples": 64, "eval.batch_size": 32}
    changed = SCORED | few | {"method.class_conditional": True}
    drifting.train(small_runs.meanflow(**changed), tmp_path / "run")
    rows = record.read(tmp_path / "run")
    assert [(row["step"], row["nfe"]) for row in rows] == [(0, 1), (4, 1), (8, 1)]
    assert all(row["frechet_distance"] > 0 for row in rows)
    drifting.evaluate(tmp_path / "run", cfg_scales=[2.0], skip_existing=True)
    assert record.read(tmp_path / "run")[-1]["nfe"] == 2
    for path in (record.RECORD, record.TABLE):
        (tmp_path / "run" / path).unlink()  # as if the job had died in its last score
    drifting.train(small_runs.meanflow(**changed), tmp_path / "run")
    assert [row["step"] for row in record.read(tmp_path / "run")] == [8]


def test_scores_in_training_that_devices_do_not_divide(tmp_path):
    config = image_config("cnn", **{"eval.batch_size": 6})
    with pytest.raises(MeshError, match=r"6 images do not divide over 4 devices.*eval.batch_size"):
        drifting.train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("network", ["cnn", "unet", "film_unet", "dit"])
def test_images_by_every_network(network, tmp_path):
    small = {"model.size": "nano", "model.remat": True, "precision": "bfloat16"}
    if network == "cnn":
        small = {"model.width": 16, "model.depth": 1, "method.guidance_kappa": 0.1}
    config = image_config(network, **small)
    drifting.train(config, tmp_path / "run")
    rows = [row for row in workdirs.rows(tmp_path / "run") if "loss" in row]
    assert len(rows) == 2
    rows = record.read(tmp_path / "run")
    assert [row["step"] for row in rows] == [0, 2]
    assert (tmp_path / "run" / "samples" / "step_0000002.png").exists()

"""CUT from config to scores: what a run leaves, resumed, on several devices, on real pictures."""

import json
import shutil

import jax
import numpy as np
import pytest
import small_runs
import workdirs
from PIL import Image

import drifting
from drifting.evaluation import record
from drifting.training.divergence import TrainingDiverged

FEW = {"train.total_steps": 4}


@pytest.fixture(scope="module")
def finished(train_once):
    """Read-only workdir of the run of `small_runs.cut()`: 8 steps."""
    return train_once(small_runs.cut())


def test_what_a_run_leaves(finished):
    rows = {row["step"]: row for row in workdirs.rows(finished) if "loss" in row}
    assert sorted(rows) == list(range(1, 9))
    for row in rows.values():
        assert {"g_loss", "d_loss", "g_adv", "nce", "identity", "r1", "grad_norm"} <= set(row)
        weight = 0.1 * (1 - (row["step"] - 1) / 8)
        expected = row["g_adv"] + row["nce"] + weight * row["identity"]
        np.testing.assert_allclose(row["loss"], expected, rtol=1e-5)
    # R1 is computed at every third step and kept in between.
    r1 = [rows[step]["r1"] for step in range(1, 9)]
    assert r1[0] == r1[1] == r1[2] != r1[3] == r1[4] == r1[5] != r1[6] == r1[7]
    state = workdirs.state_of(finished, 8)
    assert state.step == 8 and set(state.ema_params) == {"generator"}
    assert set(state.params) == {"generator", "patch_heads", "discriminator"}
    (picture,) = finished.glob("*/step_0000008*.png")
    assert Image.open(picture).width > 96
    assert {"g_loss.png", "d_loss.png", "nce.png"} <= {p.name for p in finished.rglob("*.png")}


def test_a_resumed_run_is_the_run_that_never_stopped(finished, tmp_path):
    """Bit for bit: weights, averages and the states of all three optimisers."""
    copy = shutil.copytree(finished, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints" / "8")
    drifting.train(small_runs.cut(), copy)
    states = [workdirs.state_of(workdir, 8) for workdir in (copy, finished)]
    assert set(states[0].opt_state) == {"generator", "patch_heads", "discriminator"}
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_translations_are_scored_and_can_be_had(finished, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    drifting.evaluate(workdir)
    (row,) = record.read(workdir)
    assert (row["split"], row["num_samples"], row["sampler"]) == ("test", 20, "translation")
    assert row["frechet_distance"] > 0.0 and 0.0 < row["content"] <= 1.0
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 20, 3), np.uint8)
    made = drifting.load(workdir).translate(images)
    assert made.shape == images.shape and made.dtype == np.uint8


@pytest.mark.slow
def test_the_loss_does_not_depend_on_the_number_of_devices(tmp_path):
    """Beyond rounding: where a gradient is 0, Adam follows the sign of its rounding, so it is SGD
    that is compared."""
    sgd = {f"{name}.{key}": value for name in ("optimizer", "discriminator_optimizer")
           for key, value in {"name": "sgd", "learning_rate": 1e-3}.items()}  # fmt: skip
    small = {"model.initializer": "xavier", "discriminator.initializer": "xavier",
             "method.loss": "hinge", "method.identity_weight": 0.1}  # fmt: skip
    found, shared = [], FEW | sgd | small | {"method.batch_size": 8}
    for devices in (1, 8):
        config = small_runs.cut(**shared, **{"mesh.data": devices})
        drifting.train(config, tmp_path / str(devices))
        rows = [row for row in workdirs.rows(tmp_path / str(devices)) if "loss" in row]
        found.append([[row[name] for name in ("loss", "d_loss", "nce", "r1")] for row in rows])
    assert len(found[0]) == 4
    np.testing.assert_allclose(*found, rtol=1e-5)


@pytest.mark.slow
def test_bfloat16_follows_float32(finished, tmp_path):
    drifting.train(small_runs.cut(**FEW, precision="bfloat16"), tmp_path)
    half, full = workdirs.losses(tmp_path), workdirs.losses(finished)[:4]
    assert half != full
    np.testing.assert_allclose(half, full, rtol=0.05)
    params = workdirs.state_of(tmp_path, 4).params
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(params))


@pytest.mark.slow
def test_a_discriminator_that_is_lost_is_named(tmp_path):
    config = small_runs.cut(**{"discriminator_optimizer.learning_rate": 1e38})
    with pytest.raises(TrainingDiverged, match=r"g_adv is not finite at step 1 \(its metrics: "):
        drifting.train(config, tmp_path)


@pytest.mark.slow
def test_checkpoints_are_scored_as_they_are_saved(tmp_path):
    config = small_runs.cut(**FEW, **{"train.evaluate": True, "train.checkpoint_steps": 2})
    drifting.train(config, tmp_path)
    assert [row["step"] for row in record.read(tmp_path)] == [0, 2, 4]


@pytest.mark.slow
def test_real_horses_and_deer(tfds_data_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_data_dir))
    source = "unpaired:tfds:cifar10#horse,tfds:cifar10#deer"
    drifting.train(small_runs.cut(**FEW, **{"data.source": source}), tmp_path)
    assert np.isfinite(workdirs.losses(tmp_path)).all()
    facts = json.loads((tmp_path / "config.json").read_text())["data"]
    assert facts["class_names"] == ["horse", "deer"]

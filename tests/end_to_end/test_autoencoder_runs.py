"""An autoencoder from config to test.json, resumed, and its reconstructions scored."""

import json
import shutil

import jax
import numpy as np
import pytest
import small_runs
import workdirs
from PIL import Image

import drifting
from drifting.core.errors import ConfigError
from drifting.evaluation import record
from drifting.runs.workdir import Run, WorkdirError


@pytest.fixture(scope="module")
def finished(train_once):
    """Read-only workdir of the run of `small_runs.autoencoder()`: 8 steps."""
    return train_once(small_runs.autoencoder())


def test_what_a_run_leaves(finished):
    rows = workdirs.rows(finished)
    wanted = {"loss", "recons_err", "kl", "lr", "grad_norm"}
    assert wanted <= set(rows[1])
    scored = {r["step"]: r for r in rows if "val_psnr" in r}
    assert sorted(scored) == [0, 4, 8]
    found = json.loads((finished / "test.json").read_text())
    assert found["num_images"] == 300 and found["step"] == 8
    assert {"recons_err", "kl", "psnr"} <= set(found)
    assert found["val_psnr"] == scored[8]["val_psnr"] > scored[0]["val_psnr"]
    for name in ("step_0000008.png", "step_0000008_reconstructions.png"):
        (path,) = finished.glob(f"*/{name}")
        assert Image.open(path).width > 200


@pytest.mark.slow
def test_a_resumed_run_is_the_run_that_never_stopped(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints" / "8")
    (copy / "test.json").unlink()
    drifting.train(small_runs.autoencoder(), copy)
    states = [workdirs.state_of(workdir, 8) for workdir in (copy, finished)]
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_reconstructions_are_scored(finished, tmp_path):
    """PSNR and the Frechet distance of reconstructions of the test images, by one command."""
    workdir = shutil.copytree(finished, tmp_path / "run")
    drifting.evaluate(workdir, batch_size=128)  # 300 images: the last batch is padded
    (row,) = record.read(workdir)
    assert (row["split"], row["num_samples"], row["sampler"]) == ("test", 300, "reconstruction")
    tested = json.loads((workdir / "test.json").read_text())
    np.testing.assert_allclose(row["psnr"], tested["psnr"], rtol=1e-5)
    assert row["frechet_distance"] > 0.0
    (folder,) = (workdir / "eval" / "artifacts").iterdir()
    assert Image.open(folder / "preview.png").width > 200
    with pytest.raises(ConfigError, match="no guidance"):
        drifting.evaluate(workdir, cfg_scales=[2.0])
    with pytest.raises(ConfigError, match="no --sampler"):
        drifting.evaluate(workdir, sampler="euler")
    with pytest.raises(WorkdirError, match="generates no images"):
        Run(workdir).sample([0, 1])


def test_the_ratio_of_samples_is_refused(run_copy):
    with pytest.raises(ConfigError, match="--metrics psnr compares reconstructions"):
        drifting.evaluate(run_copy, metrics=("psnr",), features="pixels")


@pytest.mark.slow
def test_reconstructions_are_compared_in_a_classifiers_features(finished_classifier, tmp_path):
    config = small_runs.autoencoder(**{
        "method.encoder": str(finished_classifier), "method.perceptual_weight": 0.1,
        "train.total_steps": 4,
    })  # fmt: skip
    drifting.train(config, tmp_path / "run")
    logged = [row for row in workdirs.rows(tmp_path / "run") if "perceptual" in row]
    assert len(logged) == 4
    for row in logged:
        assert row["perceptual"] > 0.0
        expected = row["recons_err"] + 1e-3 * row["kl"] + 64 * 0.1 * row["perceptual"]
        np.testing.assert_allclose(row["loss"], expected, rtol=1e-4)

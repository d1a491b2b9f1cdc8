"""Training runs of a drifting model: what is recorded, resumed and computed."""

import json
import logging

import jax
import numpy as np
import pytest
import workdirs
from workdirs import losses


def test_config_json_tells_how_to_repeat_the_run(finished_run):
    facts = json.loads((finished_run / "config.json").read_text())
    assert facts["config"]["train"]["total_steps"] == 12
    assert facts["versions"]["jax"] == jax.__version__
    assert facts["device_kind"] == "cpu"
    assert len(facts["data_fingerprint"]) >= 16


@pytest.mark.slow
def test_a_changed_learning_rate_is_logged_and_used(train, caplog):
    train(**{"train.total_steps": 4})
    with caplog.at_level(logging.WARNING, logger="drifting"):
        train(**{"optimizer.learning_rate": 1e-3})
    assert "changed config.optimizer.learning_rate: 0.002 -> 0.001" in caplog.text


@pytest.mark.slow
def test_a_truncated_newest_checkpoint_costs_only_its_steps(finished_run, train, caplog):
    workdir = train("parts", **{"train.total_steps": 8})
    workdirs.truncate_newest_checkpoint(workdir)
    with caplog.at_level(logging.WARNING, logger="drifting"):
        train("parts")
    assert "falling back to the checkpoint of step 4" in caplog.text
    assert losses(workdir) == losses(finished_run)
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

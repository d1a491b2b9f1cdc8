"""Scores of a held-out set: every image once, whatever the batch, and kept with the checkpoint."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stub_method

from drifting.runs import build
from drifting.training import checkpoints
from drifting.training.validation import Validation
from input_pipeline import sources


@pytest.fixture(scope="module")
def images():
    return sources.load("digits", "test", image_size=8, channels=1)


@pytest.mark.parametrize("batch_size", [300, 1000, 128, 7])
def test_every_image_counts_once(images, batch_size):
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    method = stub_method.make(build.facts_of(images), batch_size)
    validation = Validation(method, images, batch_size, here)
    sums = validation.sums(jnp.float32(3.0))
    pixels = images.images.reshape(300, -1) / 127.5 - 1.0
    total = np.sum(pixels.mean(axis=1) * (1 + images.labels))
    assert sums["count"] == 300
    assert sums["scaled"] == 900
    np.testing.assert_allclose(sums["total"], total, rtol=1e-5)
    np.testing.assert_allclose(validation.scores(jnp.float32(3.0))["mean"], total / 300, rtol=1e-5)


def save(store, step, **metrics):
    store.save({"x": jnp.float32(step)}, step, metrics)
    store.wait()


def best_of(folder):
    return functools.partial(checkpoints.best_step, folder, "val_accuracy")


def test_the_best_checkpoint_stays_also_after_a_resume(tmp_path):
    folder = tmp_path / "checkpoints"
    store = checkpoints.Checkpoints(folder, keep=1, best=best_of(folder))
    for step, accuracy in ((1, 0.2), (2, 0.8), (3, 0.5)):
        save(store, step, val_accuracy=accuracy)
    store.close()
    store = checkpoints.Checkpoints(folder, keep=1, best=best_of(folder))
    for step, accuracy in ((4, 0.6), (5, 0.7), (6, 0.1)):
        save(store, step, val_accuracy=accuracy)
    store.close()
    assert checkpoints.best_step(folder, "val_accuracy") == 2
    assert checkpoints.valid_steps(folder) == [2, 6]


def test_of_equal_ones_the_latest_is_best_and_without_scores_none(tmp_path):
    store = checkpoints.Checkpoints(tmp_path, keep=9)
    for step, metrics in (
        (1, {"loss": 1.0}),
        (2, {"val_accuracy": 0.5}),
        (3, {"val_accuracy": 0.5}),
        (4, {"val_accuracy": 0.4}),
    ):
        save(store, step, **metrics)
    store.close()
    assert checkpoints.best_step(tmp_path, "val_accuracy") == 3
    assert checkpoints.best_step(tmp_path, "val_accuracy", largest=False) == 4
    assert checkpoints.best_step(tmp_path, "val_loss") is None


def test_a_score_that_is_not_finite_is_never_the_best(tmp_path):
    store = checkpoints.Checkpoints(tmp_path, keep=9)
    for step, value in ((1, np.nan), (2, 0.5), (3, np.inf), (4, -np.inf), (5, np.nan)):
        save(store, step, val_accuracy=value)
    store.close()
    assert checkpoints.best_step(tmp_path, "val_accuracy") == 2
    assert checkpoints.best_step(tmp_path, "val_accuracy", largest=False) == 2

"""Training on a stream: exact resume, the batch of each step, refusals that write nothing."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
import stub_method
from stub_method import weigh
from workdirs import losses, state_of

import drifting
from drifting.core.errors import ConfigError
from drifting.runs import build
from drifting.runs.workdir import Run
from drifting.training import checkpoints, loop, mesh
from drifting.training.mesh import MeshError
from drifting.training.parts import Parts
from drifting.training.schedule import Schedule
from input_pipeline import streaming
from input_pipeline.decoding import DataError
from input_pipeline.sources import load, open_stream
from input_pipeline.space import Pixels

STREAMED = {
    "data.streaming": True,
    "data.read_threads": 2,
    "method.queue_size": 8,
    "method.queue_push": 24,
    "method.temperatures": (0.2,),
}


@pytest.fixture
def source(tmp_path):
    """8x8 digits as npy files."""
    folder = tmp_path / "npy"
    folder.mkdir()
    digits = load("digits", "train", image_size=8, channels=1)
    np.save(folder / "train_images.npy", digits.images[:300])
    np.save(folder / "train_labels.npy", digits.labels[:300])
    return f"npy:{folder}"


@pytest.mark.slow
def test_a_resumed_run_equals_one_that_never_stopped_and_is_scored(train, source):
    given = STREAMED | {"data.source": source}
    whole = train("whole", **given)
    assert checkpoints.valid_steps(whole / "checkpoints") == [0, 4, 8, 12]
    # Step 6 is lost: what was trained after step 4 is trained again, on the same batches.
    parts = train("parts", **given, **{"train.total_steps": 6})
    shutil.rmtree(parts / "checkpoints" / "6")
    train("parts", **given)
    assert losses(parts) == losses(whole) and np.all(np.asarray(losses(whole)[4:]) > 0)
    a, b = (state_of(workdir, 12) for workdir in (whole, parts))
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert a.extra["queue"].counts.sum() == 80
    # Streamed images are scored from memory.
    assert build.load_images(Run(whole).config).images.shape == (300, 8, 8, 1)


def parts_of(config, stream, batch_size, *schedule):
    """A run of the stub method, whatever the method of the config."""
    method = stub_method.make(build.facts_of(stream), batch_size)
    return Parts(
        config=config,
        whole=stream,
        data=stream,
        held_out=None,
        facts=method.facts,
        method=method,
        frozen={},
        schedule=Schedule(*schedule),
        mesh=mesh.mesh_of(config, method),
    )


@pytest.fixture
def moments(tmp_path):
    """A stream of latents [2, 2, 3] that are drawn from moments."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "train_moments.npy", rng.standard_normal((20, 2, 2, 6), np.float32))
    np.save(tmp_path / "train_labels.npy", np.arange(20) % 4)
    return open_stream(f"latents:{tmp_path}", image_size=2, channels=3, seed=3, threads=2)


def test_step_k_sees_batch_k_spread_over_the_mesh(small_config, moments, tmp_path):
    config = small_config(**{"mesh.data": 4, "mesh.fsdp": 2})
    loop.train(parts_of(config, moments, 16, 7, 1, 7, 4, 3, 1.25, 20), tmp_path / "run")
    expected = [weigh(b.images, b.labels) for b in moments.batches(16, 0, 7)]
    np.testing.assert_allclose(losses(tmp_path / "run"), expected, rtol=1e-5)
    # Going on: only the batches that are left are asked for.
    loop.train(parts_of(config, moments, 16, 9, 1, 7, 4, 3, 1.25, 20), tmp_path / "run")
    expected += [weigh(b.images, b.labels) for b in moments.batches(16, 7, 9)]
    np.testing.assert_allclose(losses(tmp_path / "run"), expected, rtol=1e-5)
    plotted = np.fromfile(tmp_path / "run" / "summary" / "loss.float32", "<f4")
    np.testing.assert_allclose(plotted, expected, rtol=1e-5)


def test_batches_lie_on_all_devices(small_config, moments, tmp_path):
    config = small_config(**{"mesh.data": 4, "mesh.fsdp": 2})
    parts = parts_of(config, moments, 16, 2, 1, 2, 2, 2, 1.0)
    trainer = loop.Trainer(parts, tmp_path)
    with jax.set_mesh(trainer.mesh):
        trainer.start()
        for batch in (trainer.feed.data, trainer.feed.next()):
            assert len(batch.images.sharding.device_set) == 8
            assert batch.images.addressable_shards[0].data.shape == (2, 2, 2, 3)
    trainer.close()
    parts = dataclasses.replace(parts, method=stub_method.make(parts.facts, 12))
    trainer = loop.Trainer(parts, tmp_path)
    with pytest.raises(MeshError, match="12 images do not divide over 8"):
        trainer.start()
    trainer.close()


def test_a_bad_record_ends_the_run_with_its_own_line(small_config, moments, tmp_path):
    # Facts are of the first records, here of all, so they are taken before one goes bad.
    parts = parts_of(small_config(**{"mesh.data": 1}), moments, 2, 10, 1, 10, 10, 1, 1.0)
    values = np.load(tmp_path / "train_moments.npy")
    values[13] = np.nan
    np.save(tmp_path / "train_moments.npy", values)
    stream = open_stream(moments.source, image_size=2, channels=3, threads=2)
    parts = dataclasses.replace(parts, whole=stream, data=stream)
    with pytest.raises(DataError, match="train_moments.npy, row 13: NaN"):
        loop.train(parts, tmp_path)


def test_facts_of_a_stream_are_of_records_spread_over_it(small_config, source, monkeypatch):
    config = small_config(**STREAMED | {"data.source": source})
    monkeypatch.setattr(streaming, "SPREAD", 100)
    facts = build.facts_of(build.open_stream(config))
    rows = np.linspace(0, 299, 100).astype(int)
    images = load("digits", "train", image_size=8, channels=1).images[rows] / 127.5 - 1
    assert (facts.space, facts.num_classes, facts.num_samples) == (Pixels((8, 8, 1)), 10, 300)
    assert facts.streamed and facts.class_counts is None and facts.source == source
    np.testing.assert_allclose(facts.mean + facts.std, (images.mean(), images.std()), rtol=1e-12)


@pytest.mark.parametrize(
    "changed,error,message",
    [
        ({"method.queue_size": 0}, ConfigError, r"positives from: set config.method.queue_size"),
        ({"data.num_val": 10}, ConfigError, "set config.data.num_val=0, or config.data.streaming"),
        ({"data.source": "digits"}, DataError, "digits cannot be streamed"),
    ],
)
def test_a_run_that_cannot_stream_writes_nothing(train, source, tmp_path, changed, error, message):
    with pytest.raises(error, match=message):
        train(**STREAMED | {"data.source": source} | changed)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_classifier_does_not_stream(small_classifier, source, tmp_path):
    changed = {"data.source": source, "data.streaming": True, "data.num_val": 0}
    with pytest.raises(ConfigError, match="'classifier' cannot train on streamed data"):
        drifting.train(small_classifier(**changed), tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []

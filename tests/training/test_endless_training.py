"""Training on a stream without a length: the batches of each step, resuming, and no epochs."""

import pytest
import stub_method
from stub_method import weigh
from workdirs import losses, rows

from drifting.core.errors import ConfigError
from drifting.runs import build
from drifting.training import epochs, loop, mesh, schedule
from drifting.training.parts import Parts
from input_pipeline.sources import open_stream

COUNTING = """
import numpy as np

def counting(start=0):
    while True:
        yield {"image": np.full((2, 2, 1), start % 256, np.uint8)}
        start += 1
"""


@pytest.fixture
def stream(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(COUNTING)
    return open_stream(f"python:{path}:counting", image_size=2, channels=1)


def parts_of(config, stream, total):
    method = stub_method.make(build.facts_of(stream), 3)
    config.train.update(
        {"total_steps": total, "log_steps": 1, "sample_steps": 4, "checkpoint_steps": 4}
    )
    plan = schedule.make(config.train, method.images_per_step, stream.num_samples)
    return Parts(config, stream, stream, None, method.facts, method, {}, plan,
                 mesh.mesh_of(config, method))  # fmt: skip


def test_a_resumed_run_goes_on_with_the_next_samples(small_config, stream, tmp_path):
    config = small_config(**{"mesh.data": 1})
    loop.train(parts_of(config, stream, 4), tmp_path / "run")
    loop.train(parts_of(config, stream, 7), tmp_path / "run")
    expected = [weigh(b.images.astype(float), b.labels) for b in stream.batches(3, 0, 7)]
    assert losses(tmp_path / "run") == pytest.approx(expected, rel=1e-6)
    for row in rows(tmp_path / "run"):
        assert not {"epoch", "epoch_seconds"} & row.keys()
    assert (tmp_path / "run" / "epochs.jsonl").read_text() == ""


def test_means_go_over_the_whole_run_where_there_are_no_epochs(small_config, stream, tmp_path):
    config = small_config(**{"mesh.data": 1})
    parts = parts_of(config, stream, 4)
    loop.train(parts, tmp_path)
    saved = loop.checkpoints.saved_metrics(tmp_path / "checkpoints", 4)
    assert saved["num_batches"] == 4
    assert saved["avg_loss"] == pytest.approx(sum(losses(tmp_path)) / 4, rel=1e-6)
    assert epochs.Epoch(parts.schedule, 4, saved).steps == 4


def test_durations_in_epochs_are_refused_by_key(small_config, stream):
    config = small_config(**{"train.total_steps": None, "train.total_epochs": 2.0})
    with pytest.raises(ConfigError, match=r"config.train.total_epochs = 2.0, but the data have no"):
        schedule.make(config.train, 3, stream.num_samples)
    config.train.steps_per_epoch = 5
    assert schedule.make(config.train, 3, stream.num_samples).total == 10

"""A run of seconds: 8x8 digits, 4 images a class and step, on one device unless said."""

import pytest

from configs import digits
from drifting import experiment
from models import dit


@pytest.fixture(autouse=True)
def one_block(monkeypatch):
    """Most of a test's time is compilation: one block is enough to train and to resume."""
    monkeypatch.setitem(dit.SIZES, "nano", dict(hidden_size=64, depth=1, num_heads=2))


@pytest.fixture
def small_config():
    """small_config(**values by dotted key) -> a locked config."""

    def make(**changed):
        config = digits.get_config()
        values = {
            "mesh.data": 1,
            "method.num_generated": 4,
            "method.num_positives": 4,
            "method.num_unconditional": 2,
            "train.total_steps": 12,
            "train.log_steps": 1,
            "train.sample_steps": 6,
            "train.checkpoint_steps": 4,
            "train.steps_per_call": 4,
            "train.tensorboard": False,
        }
        config.update_from_flattened_dict(values | changed)
        return config

    return make


@pytest.fixture
def train(small_config, tmp_path):
    """train(name, **changed) -> workdir of a finished run."""

    def run(name="run", **changed):
        experiment.train(small_config(**changed), tmp_path / name)
        return tmp_path / name

    return run

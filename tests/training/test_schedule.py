"""The schedule of a run: events, units, invalid values."""

import pytest

import drifting
from drifting.core.errors import ConfigError
from drifting.training import schedule
from drifting.training.schedule import Schedule


def test_calls_end_at_events():
    schedule = Schedule(total=25, log=10, sample=7, checkpoint=20, per_call=6, per_epoch=5.0)
    stops, step = [], 0
    while step < schedule.total:
        step = schedule.next_stop(step)
        stops.append(step)
    assert stops == [6, 7, 10, 14, 20, 21, 25]
    assert schedule.due(25, 7) and schedule.due(21, 7) and not schedule.due(20, 7)


@pytest.fixture
def train():
    """config.train, each interval in a unit of its own."""
    train = drifting.of("drifting").train
    train.update(total_steps=None, total_epochs=2.0, sample_steps=None, sample_examples=640)
    train.update(log_steps=3, checkpoint_steps=5, steps_per_call=7)
    return train


def test_a_schedule_of_every_unit(train):
    made = schedule.make(train, images_per_step=32, num_images=1600)
    assert made == Schedule(total=100, log=3, sample=20, checkpoint=5, per_call=7, per_epoch=50.0)
    train.steps_per_epoch = 30
    made = schedule.make(train, images_per_step=32, num_images=1600)
    assert (made.total, made.per_epoch) == (60, 30.0)


def test_an_invalid_schedule_is_refused(train):
    train.sample_steps = 10
    with pytest.raises(ConfigError, match="exactly one of config.train.sample_steps"):
        schedule.make(train, 32, 1600)
    train.steps_per_call = 0
    with pytest.raises(ConfigError, match="config.train.steps_per_call = 0 is less than 1"):
        schedule.make(train, 32, 1600)

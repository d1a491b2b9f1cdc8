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


def test_calls_end_where_plots_are_drawn():
    schedule = Schedule(25, 99, 99, 99, per_call=10, per_epoch=99.0, plot=12)
    assert [schedule.next_stop(step) for step in (0, 10, 12, 22, 24)] == [10, 12, 22, 24, 25]
    assert [step for step in range(1, 26) if schedule.plot_due(step)] == [12, 24]
    off = Schedule(25, 99, 99, 99, per_call=10, per_epoch=99.0)
    assert not any(map(off.plot_due, range(1, 26))) and off.next_stop(10) == 20


def test_a_call_is_at_most_as_long_as_asked():
    schedule = Schedule(total=25, log=99, sample=99, checkpoint=99, per_call=10, per_epoch=99.0)
    assert [schedule.next_stop(step) for step in (0, 10, 20)] == [10, 20, 25]


@pytest.mark.parametrize(
    "per_epoch,ends",
    [(2.5, [3, 5, 8, 10]), (4.0, [4, 8]), (0.4, list(range(1, 11))), (50000 / 192, [])],
)
def test_an_epoch_ends_with_the_step_that_completes_it(per_epoch, ends):
    schedule = Schedule(10, 99, 99, 99, per_call=2, per_epoch=per_epoch)
    assert [s for s in range(1, 11) if schedule.epochs(s) > schedule.epochs(s - 1)] == ends
    stops, step = [], 0
    while step < 10:
        step = schedule.next_stop(step)
        stops.append(step)
    # Epochs shorter than a call do not shorten it.
    assert set(ends) <= set(stops) if per_epoch >= 2 else stops == [2, 4, 6, 8, 10]


def test_a_fraction_of_steps_adds_up_to_whole_epochs():
    schedule = Schedule(9999, 9999, 9999, 9999, per_call=260, per_epoch=50000 / 192)
    assert (schedule.epochs(3124), schedule.epochs(3125)) == (11, 12)
    assert schedule.next_stop(3124) == 3125


@pytest.fixture
def train():
    """config.train, each interval in a unit of its own."""
    train = drifting.of("drifting").train
    train.update(total_steps=None, total_epochs=2.0, sample_steps=None, sample_examples=640)
    train.update(log_steps=3, checkpoint_steps=5, steps_per_call=7, plot_steps=4)
    return train


def test_a_schedule_of_every_unit(train):
    made = schedule.make(train, images_per_step=32, num_images=1600)
    assert made == Schedule(
        total=100, log=3, sample=20, checkpoint=5, per_call=7, per_epoch=50.0, plot=4
    )
    train.steps_per_epoch = 30
    made = schedule.make(train, images_per_step=32, num_images=1600)
    assert (made.total, made.per_epoch) == (60, 30.0)


def test_an_invalid_schedule_is_refused(train):
    train.sample_steps = 10
    with pytest.raises(ConfigError, match="exactly one of config.train.sample_steps"):
        schedule.make(train, 32, 1600)
    train.plot_steps = -1
    with pytest.raises(ConfigError, match="config.train.plot_steps = -1 is less than 0"):
        schedule.make(train, 32, 1600)
    train.steps_per_call = 0
    with pytest.raises(ConfigError, match="config.train.steps_per_call = 0 is less than 1"):
        schedule.make(train, 32, 1600)

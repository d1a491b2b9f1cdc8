"""The window of metrics: means over its steps, the last value of settings, rates over its time."""

import pytest

from drifting.training.meters import Window


def test_means_are_over_steps_and_a_setting_is_its_last_value():
    window = Window()
    window.add({"sum": {"loss": 6.0, "lr": 0.3}, "last": {"loss": 1.0, "lr": 0.2}}, 3)
    window.add({"sum": {"loss": 2.0, "lr": 0.1}, "last": {"loss": 2.0, "lr": 0.1}}, 1)
    assert window.means() == {"loss": 2.0, "lr": 0.1}
    window.reset()
    assert window.steps == 0 and window.means() == {}


def test_rates_are_of_the_time_since_the_window_began():
    window = Window()
    window.add({"sum": {"loss": 1.0}, "last": {"loss": 1.0}}, 4)
    window.began -= 8.0  # as if it had begun so many seconds ago: 2 per step
    rates = window.rates(images_per_step=10, steps_per_epoch=3.0)
    assert rates["step_ms"] == pytest.approx(2000.0, rel=0.01)
    assert rates["images_per_second"] == pytest.approx(5.0, rel=0.01)
    assert rates["epoch_seconds"] == pytest.approx(6.0, rel=0.01)

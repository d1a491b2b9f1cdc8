"""Plots of every step: linear at first, logarithmic from step 100; groups of many steps."""

import json
import sys

import numpy as np
import pytest

from drifting.pictures import live


def plot(values, folder, figures):
    """The axes of the plot of these values."""
    live.plot_steps(np.asarray(values, "<f4"), folder / "loss.png", "loss")
    (axes,) = figures.pop().axes
    return axes


def scales(axes):
    return axes.get_xscale(), axes.get_yscale()


def test_linear_before_step_100_and_logarithmic_from_there(tmp_path, figures):
    values = 1.0 + np.arange(400.0)
    axes = plot(values[:99], tmp_path, figures)
    assert (scales(axes), axes.get_xlim()) == (("linear", "linear"), (0, 99))
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[k, k] for k in range(1, 100)])
    axes = plot(values[:100], tmp_path, figures)
    assert (scales(axes), axes.get_xlim()[0]) == (("log", "log"), 100)
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[100, 100]])
    axes = plot(values, tmp_path, figures)
    assert (scales(axes), axes.get_xlim()) == (("log", "log"), (100, 400))
    points = axes.lines[0].get_xydata()
    np.testing.assert_allclose(points[:, 1], points[:, 0], rtol=1e-6)
    assert (points[0, 0], points[-1, 0]) == (100, pytest.approx(400, abs=1))


def test_many_steps_are_drawn_by_means_and_ranges_of_neighbours(tmp_path, figures):
    values = np.where(np.arange(100_000) % 2, 3.0, 1.0)
    axes = plot(values, tmp_path, figures)
    steps, means = axes.lines[0].get_xydata().T
    assert len(steps) <= 400 and np.all(np.diff(steps) > 0)
    np.testing.assert_array_equal(means[-100:].round(1), 2.0)
    band = axes.collections[0].get_paths()[0].vertices
    last = band[np.abs(band[:, 0] - steps[-1]) < 1e-6]
    assert set(last[:, 1]) == {1.0, 3.0}
    assert "means and ranges" in axes.get_title(loc="right")
    assert "up to step 100,000" in axes.get_title(loc="right")


def test_a_group_is_the_mean_of_its_steps():
    steps = np.arange(100, 5001)
    values = np.random.default_rng(0).uniform(1.0, 2.0, len(steps))
    first = 0  # of a group, whose mean step tells how many steps it has
    for place, mean, low, high in zip(*live._grouped(steps, values, True), strict=True):
        group = values[first : first + round(2 * (place - steps[first])) + 1]
        assert (mean, low, high) == pytest.approx((group.mean(), group.min(), group.max()))
        first += len(group)
    assert first == len(steps)


def test_values_that_are_not_finite_are_gaps(tmp_path, figures):
    axes = plot([1.0, np.nan, 3.0, np.inf, 2.0], tmp_path, figures)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1.0, np.nan, 3.0, np.nan, 2.0])
    plot(np.full(200, np.nan), tmp_path, figures)  # only gaps


def test_values_that_are_not_positive_have_a_linear_scale(tmp_path, figures):
    values = np.full(200, 1.0)
    values[50] = -1.0  # before what is shown
    assert scales(plot(values, tmp_path, figures)) == ("log", "log")
    values[150] = 0.0
    axes = plot(values, tmp_path, figures)
    assert scales(axes) == ("log", "linear") and axes.lines[0].get_ydata().min() == 0.0


def test_labels_of_a_short_log_scale_are_whole_steps(tmp_path, figures):
    axes = plot(np.ones(120), tmp_path, figures)
    ticks = axes.get_xticklabels(which="both")
    labels = {t.get_position()[0]: t.get_text() for t in ticks if t.get_text()}
    labels = {place: text for place, text in labels.items() if 100 <= place <= 120}
    assert len(labels) >= 3 and all(text == f"{place:.0f}" for place, text in labels.items())


def test_steps_without_a_value_are_gaps(tmp_path):
    path = live.values_path(tmp_path, "loss")
    np.float32([1.0, 2.0, 3.0]).tofile(path)
    np.testing.assert_array_equal(live.read_values(path, 2), [1.0, 2.0])
    np.testing.assert_array_equal(live.read_values(path, 4), [1.0, 2.0, 3.0, np.nan])


def test_drawing_takes_a_small_share_of_the_processors(monkeypatch):
    asked = json.dumps({"folder": "nowhere", "names": ["loss"], "step": 1})
    monkeypatch.setattr(sys, "stdin", [asked, asked])
    monkeypatch.setattr(live, "draw", lambda *arguments: None)
    monkeypatch.setattr(live, "_yield_processor", lambda: None)
    clock, slept = iter([0.0, 1.0, 1.5]), []  # the first drawing, which loads matplotlib, is free
    monkeypatch.setattr(live.time, "process_time", lambda: next(clock))
    monkeypatch.setattr(live.time, "sleep", slept.append)
    monkeypatch.setattr(live.os, "cpu_count", lambda: 4)
    live.serve()
    assert slept == [0.5 * 160 / 4]

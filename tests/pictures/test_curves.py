"""Curves: a line a group of scores, a panel a metric."""

import numpy as np
import pytest
from picture_files import pixels
from PIL import Image

from drifting.pictures import plot_curves, plot_lines, plot_metric_vs_step


def scored(step, distance, **other):
    row = {
        "step": step, "frechet_distance": distance, "features": "pixels", "fid_mode": "",
        "data_set": "digits", "split": "test", "cfg_scale": 1.5, "weights": "ema",
        "num_samples": 5000,
    }  # fmt: skip
    return row | other


def test_scores_are_drawn_a_line_a_group(tmp_path, figures):
    rows = [scored(200, 4.0), scored(100, 8.0), scored(200, 6.0), scored(300, None)]
    rows += [scored(100, 9.0, weights="raw"), scored(100, 9.0, cfg_scale=None)]
    rows += [scored(100, 9.0, sampler="euler-50"), scored(300, 4.0, sampler="")]
    plot_metric_vs_step(rows, tmp_path / "fid_vs_step.png", "frechet_distance")
    (figure,) = figures
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    lines = {line.get_label(): line for line in axes.lines if line.get_label()[0] != "_"}
    assert sorted(lines) == [
        "pixels, digits test, cfg 1.5, ema, 5,000 samples",
        "pixels, digits test, cfg 1.5, euler-50, ema, 5,000 samples",
        "pixels, digits test, cfg 1.5, raw, 5,000 samples",
        "pixels, digits test, no cfg, ema, 5,000 samples",
    ]
    line = lines["pixels, digits test, cfg 1.5, ema, 5,000 samples"]
    np.testing.assert_allclose(line.get_xydata(), [[100, 8], [200, 5], [300, 4]])  # mean over seeds
    assert pixels(tmp_path / "fid_vs_step.png").shape[1] > 600


def test_small_changes_of_small_distances_have_different_labels(tmp_path, figures):
    rows = [scored(step, 0.031 + step * 1e-6) for step in (100, 200, 300, 400)]
    plot_metric_vs_step(rows, tmp_path / "fid_vs_step.png", "frechet_distance")
    (axes,) = figures[0].axes
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.yaxis.get_minorticklocs() if low <= tick <= high]
    labels = [text for text in axes.yaxis.get_minor_formatter().format_ticks(ticks) if text]
    assert len(labels) >= 3 and len(set(labels)) == len(labels)


def test_scores_below_zero_are_drawn_on_a_linear_scale(tmp_path, figures):
    rows = [scored(100, None, kid=0.5), scored(200, None, kid=-0.1)]
    plot_metric_vs_step(rows, tmp_path / "kid_vs_step.png", "kid")
    (axes,) = figures[0].axes
    assert (axes.get_yscale(), axes.get_ylabel()) == ("linear", "Kid")


def test_no_scores_are_no_plot(tmp_path):
    with pytest.raises(ValueError, match="score a checkpoint first"):
        plot_metric_vs_step([scored(1, None)], tmp_path / "x.png", "frechet_distance")


def test_curves_have_a_panel_each(tmp_path, figures):
    series = {name: (range(5), [1.0, np.nan, 3.0, np.inf, 2.0]) for name in "abcd"}
    plot_curves(series, tmp_path / "curves.png")
    axes = figures[0].axes
    assert [panel.get_title(loc="left") for panel in axes] == list("abcd")
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), [1.0, np.nan, 3.0, np.nan, 2.0])
    assert pixels(tmp_path / "curves.png").shape[1] > 600
    with pytest.raises(ValueError, match="no series"):
        plot_curves({}, tmp_path / "curves.png")


def test_real_data_share_the_panel_of_samples(tmp_path):
    steps = [0.0, 1.0]
    of_samples = {"energy_distance": (steps, [2.0, 1.0])}
    both = of_samples | {"energy_distance_real": (steps, [0.5, 0.5])}
    sizes = {}
    for name, series in (("one", of_samples), ("both", both), ("two", both | {"loss": both[
        "energy_distance"]})):  # fmt: skip
        plot_curves(series, tmp_path / f"{name}.png")
        sizes[name] = Image.open(tmp_path / f"{name}.png").size
    assert sizes["one"] == sizes["both"] != sizes["two"]


def test_lines_have_dots_unless_they_are_many(tmp_path, figures):
    series = {"few": (range(5), [1.0, np.nan, 3.0, np.inf, 2.0]), "many": (range(99), range(99))}
    plot_lines(series, tmp_path / "lines.png", "loss")
    (axes,) = figures[0].axes
    few, dots, many = axes.lines
    np.testing.assert_array_equal(few.get_ydata(), [1.0, np.nan, 3.0, np.nan, 2.0])
    assert [line.get_marker() for line in (few, dots, many)] == ["None", ".", "None"]
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["few", "many"]
    assert axes.get_ylabel() == "loss" and axes.get_yscale() == "linear"


def test_ticks_of_a_nearly_flat_log_scale_differ(tmp_path, figures):
    series = {"run": (range(3), [12.2031, 12.2034, 12.2039])}
    plot_lines(series, tmp_path / "lines.png", "Frechet distance", log_scale=True)
    (axes,) = figures[0].axes
    labels = [text.get_text() for text in axes.get_yticklabels(which="both") if text.get_text()]
    assert len(labels) > 2 and len(set(labels)) == len(labels)

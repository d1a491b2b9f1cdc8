"""Spreads: every value, mean and deviation."""

import itertools

import numpy as np

from drifting.pictures import plot_spread


def test_spreads_show_every_value_beside_mean_and_deviation(tmp_path, figures):
    values = {"small": [70.0, 71.0, 74.0], "large": [80.0, 82.0]}
    panels = {"cifar10": {"float32": values, "bfloat16": {"small": [60.0], "large": []}}}
    plot_spread(panels, tmp_path / "spread.png", "test accuracy, %")
    (axes,) = figures[0].axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["small", "large"]
    float32, bfloat16 = axes.containers
    mean, _, (bars,) = float32
    np.testing.assert_allclose(mean.get_xydata()[:, 1], [np.mean(v) for v in values.values()])
    half = [np.ptp(bar[:, 1]) / 2 for bar in bars.get_segments()]
    np.testing.assert_allclose(half, [np.std(v, ddof=1) for v in values.values()])
    np.testing.assert_allclose(bfloat16.lines[0].get_xydata()[:, 1], [60.0])
    dots = [line.get_xydata() for line in axes.lines if line.get_marker() == "."]
    assert sorted(y for x, y in np.concatenate(dots)) == [60, 70, 71, 74, 80, 82]
    places = [*mean.get_xdata(), *bfloat16.lines[0].get_xdata(), *(x for x, _ in dots[0])]
    assert len(set(np.round(places, 3))) == 4  # nothing is drawn upon another
    assert np.all(np.abs(np.array(places) - np.round(places)) < 0.5)  # each at its own category


def test_spreads_of_many_panels_have_one_legend_and_labels_that_do_not_touch(tmp_path, figures):
    series = {f"a_long_name_{i}": [1.0 * i] for i in range(4)}
    panels = {f"data set {k}": {"float32": series, "bfloat16": series} for k in range(4)}
    plot_spread(panels, tmp_path / "spread.png", "test accuracy, %")
    (figure,) = figures
    assert len(figure.axes) == 4 and len(figure.legends) == 1
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["float32", "bfloat16"]
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.get_xticklabels()]
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_a_panel_without_values_has_no_scale(tmp_path, figures):
    panels = {"cifar10": {"float32": {"small": [70.0]}}, "cifar100": {"float32": {"small": []}}}
    plot_spread(panels, tmp_path / "spread.png", "test accuracy, %")
    full, empty = figures[0].axes
    assert len(full.get_yticks()) > 0 and len(empty.get_yticks()) == 0

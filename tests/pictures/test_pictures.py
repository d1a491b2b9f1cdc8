import itertools
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from drifting.core.files import write_atomically
from drifting.pictures import (
    VectorField,
    grid_picture,
    plot_curves,
    plot_lines,
    plot_metric_vs_step,
    plot_paths,
    plot_points,
    plot_spread,
    plot_vector_fields,
    save_grid,
    save_samples,
)
from input_pipeline.space import Pixels, Points


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_shows_every_pixel_in_its_place(tmp_path, channels):
    images = np.random.default_rng(0).integers(0, 255, (2, 3, 8, 8, channels), np.uint8)
    save_grid(images, tmp_path / "grid.png")
    shown = pixels(tmp_path / "grid.png")
    scale = 17  # ceil(400 / (3 * 8))
    gap = (shown.shape[1] - 3 * 8 * scale) // 4
    assert shown.shape == (2 * 8 * scale + 3 * gap, 3 * 8 * scale + 4 * gap, 3)
    assert 1 <= gap <= 6
    for row in range(2):
        for column in range(3):
            top = gap + row * (8 * scale + gap)
            left = gap + column * (8 * scale + gap)
            tile = shown[top : top + 8 * scale, left : left + 8 * scale]
            expected = images[row, column].repeat(scale, 0).repeat(scale, 1)
            np.testing.assert_array_equal(tile, np.broadcast_to(expected, tile.shape))
    assert (shown[:gap] == 255).all() and (shown[:, -gap:] == 255).all()


def test_large_images_are_not_enlarged(tmp_path):
    save_grid(np.zeros((1, 2, 256, 256, 3), np.uint8), tmp_path / "grid.png")
    assert 512 < pixels(tmp_path / "grid.png").shape[1] < 560


def test_a_grid_is_as_wide_as_it_is_asked_to_be():
    images = np.zeros((1, 3, 8, 8, 1), np.uint8)
    widths = [grid_picture(images, width=width).width for width in (48, 49, 300)]
    assert widths == [48 + 4, 72 + 4, 312 + 4 * 4]  # and four gaps


def test_headings_stand_outside_the_images(tmp_path):
    images = np.zeros((2, 3, 8, 8, 1), np.uint8)
    save_grid(images, tmp_path / "plain.png")
    save_grid(images, tmp_path / "grid.png", ["real", "sample"], ["a", "b", "c"])
    plain, shown = pixels(tmp_path / "plain.png"), pixels(tmp_path / "grid.png")
    height, width = plain.shape[:2]
    np.testing.assert_array_equal(shown[-height:, -width:], plain)
    above, beside = shown[:-height], shown[:, :-width]
    assert above.min() < 128 and beside.min() < 128  # ink


def test_grids_that_cannot_be_drawn_are_refused(tmp_path):
    path = tmp_path / "grid.png"
    with pytest.raises(ValueError, match="C = 1 or 3"):
        save_grid(np.zeros((1, 1, 8, 8, 4), np.uint8), path)
    with pytest.raises(ValueError, match="uint8"):
        save_grid(np.zeros((1, 1, 8, 8, 1)), path)
    with pytest.raises(ValueError, match="1 headings for 2"):
        save_grid(np.zeros((2, 1, 8, 8, 1), np.uint8), path, ["one"])
    assert not path.exists()


def scored(step, distance, **other):
    row = {
        "step": str(step), "frechet_distance": str(distance), "features": "pixels", "fid_mode": "",
        "data_set": "digits", "split": "test", "cfg_scale": "1.5", "weights": "ema",
        "num_samples": "5000",
    }  # fmt: skip
    return row | other


@pytest.fixture
def figures(monkeypatch):
    """The figures drawn during a test, in order."""
    from matplotlib.figure import Figure

    drawn = []
    save = Figure.savefig

    def kept(figure, *args, **options):
        drawn.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    return drawn


def test_scores_are_drawn_a_line_a_group(tmp_path, figures):
    rows = [scored(200, 4.0), scored(100, 8.0), scored(200, 6.0), scored(300, "")]
    rows += [scored(100, 9.0, weights="raw"), scored(100, 9.0, cfg_scale="")]
    rows += [scored(100, 9.0, sampler="euler-50"), scored(300, 4.0, sampler="")]
    plot_metric_vs_step(rows, tmp_path / "fid_vs_step.png")
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
    plot_metric_vs_step(rows, tmp_path / "fid_vs_step.png")
    (axes,) = figures[0].axes
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.yaxis.get_minorticklocs() if low <= tick <= high]
    labels = [text for text in axes.yaxis.get_minor_formatter().format_ticks(ticks) if text]
    assert len(labels) >= 3 and len(set(labels)) == len(labels)


def test_no_scores_are_no_plot(tmp_path):
    with pytest.raises(ValueError, match="score a checkpoint first"):
        plot_metric_vs_step([scored(1, "")], tmp_path / "fid_vs_step.png")


def test_curves_have_a_panel_each(tmp_path, figures):
    series = {name: (range(5), [1.0, np.nan, 3.0, np.inf, 2.0]) for name in "abcd"}
    plot_curves(series, tmp_path / "curves.png")
    axes = figures[0].axes
    assert [panel.get_title(loc="left") for panel in axes] == list("abcd")
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), [1.0, np.nan, 3.0, np.nan, 2.0])
    assert pixels(tmp_path / "curves.png").shape[1] > 600
    with pytest.raises(ValueError, match="no series"):
        plot_curves({}, tmp_path / "curves.png")


def test_lines_have_dots_unless_they_are_many(tmp_path, figures):
    series = {"few": (range(5), [1.0, np.nan, 3.0, np.inf, 2.0]), "many": (range(99), range(99))}
    plot_lines(series, tmp_path / "lines.png", "loss")
    (axes,) = figures[0].axes
    few, dots, many = axes.lines
    np.testing.assert_array_equal(few.get_ydata(), [1.0, np.nan, 3.0, np.nan, 2.0])
    assert [line.get_marker() for line in (few, dots, many)] == ["None", ".", "None"]
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["few", "many"]
    assert axes.get_ylabel() == "loss" and axes.get_yscale() == "linear"


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


def test_arrows_have_one_length_and_the_colour_of_theirs(tmp_path, figures):
    draw = np.random.default_rng(0).standard_normal
    places, arrows = draw((12, 2)), draw((12, 2)) * np.linspace(0, 5, 12)[:, None]
    panels = {
        "one": VectorField(places, arrows, draw((7, 2)), draw((9, 2))),
        "other": VectorField(places, 0.1 * arrows, draw((7, 2)), draw((9, 2)) + 5.0),
    }
    plot_vector_fields(panels, tmp_path / "fields.png", columns=2, length_name="|V|")
    *all_axes, bar = figures[0].axes
    assert [axes.get_title(loc="left") for axes in all_axes] == ["one", "other"]
    assert bar.get_ylabel() == "|V|"
    for axes, field in zip(all_axes, panels.values(), strict=True):
        (quiver,) = axes.collections
        np.testing.assert_allclose(quiver.get_offsets(), field.places)
        length = np.linalg.norm(field.arrows, axis=1)
        np.testing.assert_allclose(np.hypot(quiver.U, quiver.V)[1:], 1.0)  # the first is none
        np.testing.assert_allclose(quiver.get_array(), length)
        directions = np.stack([quiver.U, quiver.V], axis=1)
        np.testing.assert_allclose(directions * length[:, None], field.arrows)
        goal, points = (line.get_xydata() for line in axes.lines)
        np.testing.assert_allclose(goal, field.goal)
        np.testing.assert_allclose(points, field.points)
        assert axes.get_aspect() == 1.0 and axes.get_xlim()[1] > panels["other"].goal[:, 0].max()
    assert all_axes[0].collections[0].get_clim() == all_axes[1].collections[0].get_clim()
    assert pixels(tmp_path / "fields.png").shape[1] > 600


def test_points_are_drawn_over_as_many_real_ones(tmp_path, figures):
    draw = np.random.default_rng(0).standard_normal
    points, real = draw((1200, 2)), draw((3000, 2))
    points[:3] = 90.0
    plot_points(points, real, tmp_path / "points.png")
    (axes,) = figures[0].axes
    pale, samples = axes.lines
    np.testing.assert_array_equal(pale.get_xydata(), real[:1200])
    np.testing.assert_array_equal(samples.get_xydata(), points)
    assert axes.get_xlim()[1] < 10 and axes.get_aspect() == 1.0
    assert re.fullmatch(r"1,200 samples, [3-9] outside", axes.get_title(loc="left"))
    assert pixels(tmp_path / "points.png").shape[1] > 400
    plot_points(points[3:7], real, tmp_path / "points.png")
    (axes,) = figures[1].axes
    assert len(axes.lines[0].get_xydata()) == 1000  # four would not show where they should be
    assert axes.get_title(loc="left") == "4 samples"
    plot_points(points[3:], None, tmp_path / "points.png")  # without the data
    (axes,) = figures[2].axes
    np.testing.assert_array_equal(axes.lines[-1].get_xydata(), points[3:])
    assert axes.get_title(loc="left") == "1,197 samples"


def test_points_are_saved_in_the_form_that_is_asked_for(tmp_path, figures):
    points = np.float32([[0.5, -2.0], [1.0, 3.0], [7.0, 0.0]])
    for out, file in (("x.png", "x.png"), ("x.npz", "x.npz"), ("folder", "folder/points.npz")):
        save_samples(points, [2, 0, 1], Points((2,)), tmp_path / "new" / out, points)
        assert (tmp_path / "new" / file).is_file()
        if file.endswith(".npz"):
            with np.load(tmp_path / "new" / file) as arrays:
                assert sorted(arrays) == ["labels", "points"]
                np.testing.assert_array_equal(arrays["points"], points)
                assert arrays["points"].dtype == np.float32 and arrays["labels"].dtype == np.int32
    assert len(figures) == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_saved_in_the_form_that_is_asked_for(tmp_path, channels):
    space = Pixels((4, 4, channels))
    images = np.random.default_rng(0).integers(0, 256, (12, *space.shape), np.uint8)
    labels = np.arange(12) % 5
    for out in ("x.png", "x.npz", "folder"):
        save_samples(images, labels, space, tmp_path / "new" / out)
    assert pixels(tmp_path / "new" / "x.png").shape[1] >= 400
    with np.load(tmp_path / "new" / "x.npz") as arrays:
        assert sorted(arrays) == ["images", "labels"]
        np.testing.assert_array_equal(arrays["images"], images)
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 12
    last = pixels(tmp_path / "new" / "folder" / "000011_1.png")
    np.testing.assert_array_equal(last.reshape(space.shape), images[11])


def test_paths_are_lines_from_noise_to_samples(tmp_path, figures):
    draw = np.random.default_rng(0).standard_normal
    ways = {"many": draw((4, 320, 2)), "one": draw((2, 320, 2))}
    plane = np.array([[-1.0, -2.0], [3.0, 2.0]])
    plot_paths(ways, draw((9, 2)), plane, tmp_path / "paths.png")
    for axes, way in zip(figures[0].axes, ways.values(), strict=True):
        _, *lines, noise, samples = axes.lines
        assert len(lines) == 300  # of 320: more would hide each other
        for k in (0, 299):
            np.testing.assert_array_equal(lines[k].get_xydata(), way[:, k])
        np.testing.assert_array_equal(noise.get_xydata(), way[0, :300])
        np.testing.assert_array_equal(samples.get_xydata(), way[-1, :300])
        margin = 0.04 * 4.0
        np.testing.assert_allclose(axes.get_xlim(), (-1.0 - margin, 3.0 + margin))
        np.testing.assert_allclose(axes.get_ylim(), (-2.0 - margin, 2.0 + margin))
    names = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert names == ["noise", "samples"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_importing_loads_neither_matplotlib_nor_jax():
    program = (
        "import sys, drifting.pictures, drifting.pictures.film;"
        "assert 'matplotlib' not in sys.modules and 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


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

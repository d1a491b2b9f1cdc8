"""Points, fields and paths of the plane."""

import re

import numpy as np
from picture_files import pixels

from drifting.pictures import VectorField, plot_paths, plot_points, plot_vector_fields


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

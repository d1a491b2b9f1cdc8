import itertools
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from drifting.pictures import film
from drifting.pictures.film import Moving, VideoError, save_animation, save_frames, save_grids


def frames_of(path):
    """Frames int32 [T, H, W, 3] of a GIF, and how long each stays, in ms."""
    frames, times = [], []
    with Image.open(path) as picture:
        assert picture.info["loop"] == 0
        for step in range(picture.n_frames):
            picture.seek(step)
            frames.append(np.asarray(picture.convert("RGB"), np.int32))
            times.append(picture.info["duration"])
    return np.stack(frames), times


@pytest.fixture
def shown(monkeypatch):
    """What a test's figures show at each frame: way, arrows and trail of every panel."""
    seen = []
    show = film._Panel.show

    def kept(panel, frame):
        show(panel, frame)
        dots = np.array(panel._dots.get_xydata())
        arrows = panel.arrows and np.stack([panel.arrows.U, panel.arrows.V], axis=1)
        trail = [np.array(lines.get_segments()) for lines in panel._trail]
        shades = [lines.get_alpha() for lines in panel._trail]
        seen.append((frame, dots, arrows, trail, shades, panel._dots.axes))

    monkeypatch.setattr(film._Panel, "show", kept)
    return seen


def test_an_animation_has_a_frame_a_step_and_nothing_but_points_moves(tmp_path, shown):
    way = np.stack([np.zeros((5, 2)), np.ones((5, 2)), np.ones((5, 2))])
    goal = np.ones((3, 2))
    path = tmp_path / "drift.gif"
    save_animation({"up": Moving(way, goal), "down": Moving(-way, goal)}, path, columns=2)
    frames, times = frames_of(path)
    assert times[:2] == [160, 160] and times[2] > 500 and len(times) == 3
    changed = [np.abs(a - b).max(axis=-1) > 60 for a, b in itertools.pairwise(frames)]
    top = len(frames[0]) // 8  # where the step's number is
    assert changed[0][top:].any() and not changed[1][top:].any()
    assert changed[1][:top].any()
    assert (frames[:, 0] == 255).all()  # paper is white
    np.testing.assert_array_equal(shown[-1][1], -way[-1])


def test_a_trail_is_the_way_behind_a_point_and_fades(tmp_path, shown):
    way = np.random.default_rng(0).standard_normal((5, 4, 2))
    save_animation({"": Moving(way, way[0])}, tmp_path / "a.gif", 1, trail=2)
    for frame, dots, _, trail, shades, _ in shown:
        np.testing.assert_array_equal(dots, way[frame])
        for age, lines in enumerate(trail):
            end = frame - age
            expected = [] if end < 1 else np.stack([way[end - 1], way[end]], axis=1)
            np.testing.assert_array_equal(lines, expected)
        assert shades[0] > shades[1] > 0


def test_a_field_turns_its_arrows_and_keeps_its_colours(tmp_path, shown):
    draw = np.random.default_rng(0).standard_normal
    way, places, arrows = draw((3, 4, 2)), draw((6, 2)), draw((3, 6, 2))
    panel = Moving(way, way[0], places, arrows)
    plane = np.array([[-1.0, -1.0], [1.0, 1.0]])
    captions = ["t = 1.00", "t = 0.50", "t = 0.00"]
    path = tmp_path / "field.gif"
    save_animation({"": panel}, path, 1, plane=plane, captions=captions, length_name="speed")
    for frame, _, directions, *_ in shown:
        expected = arrows[frame] / np.linalg.norm(arrows[frame], axis=1, keepdims=True)
        np.testing.assert_allclose(directions, expected)
    axes = shown[0][-1]
    assert axes.get_xlim() == pytest.approx((-1.08, 1.08))  # what is outside is cut off
    assert axes.figure.axes[1].get_ylabel() == "speed"
    frames, _ = frames_of(path)
    right = slice(int(0.85 * frames.shape[2]), None)  # where the colours are explained
    np.testing.assert_array_equal(frames[0][:, right], frames[2][:, right])


def test_a_field_that_is_zero_everywhere_is_drawn(tmp_path):
    """As that of a network at its initialisation."""
    way = np.zeros((2, 4, 2))
    plane = np.array([[-1.0, -1.0], [1.0, 1.0]])
    panel = Moving(way, way[0], plane, np.zeros((2, 2, 2)))
    save_animation({"": panel}, tmp_path / "field.gif", 1, plane=plane)
    assert len(frames_of(tmp_path / "field.gif")[0]) == 2


def test_panels_that_do_not_fit_are_refused(tmp_path):
    ways = {f"{n} steps": Moving(np.zeros((n, 5, 2)), np.zeros((3, 2))) for n in (2, 3)}
    with pytest.raises(ValueError, match="same number of frames.*'2 steps': 2"):
        save_animation(ways, tmp_path / "drift.gif", columns=2)
    with pytest.raises(ValueError, match="1 captions for 2 frames"):
        save_animation({"": ways["2 steps"]}, tmp_path / "drift.gif", 1, captions=["one"])
    assert not list(tmp_path.iterdir())


def test_grids_keep_their_pixels_below_the_caption(tmp_path):
    images = np.zeros((3, 2, 2, 8, 8, 3), np.uint8)
    images[1, 0, 1] = (200, 40, 40)  # top right, in the second frame
    images[2] = 255
    save_grids(images, tmp_path / "grid.gif", ["t = 1", "t = 0.5", "t = 0"], frame_ms=100)
    frames, times = frames_of(tmp_path / "grid.gif")
    assert times[:2] == [100, 100]
    _, height, width, _ = frames.shape
    assert 256 <= width < 300 and height > width  # the caption
    top = height - width
    centre = lambda row, column: (top + width * (1 + 2 * row) // 4, width * (1 + 2 * column) // 4)  # noqa: E731
    np.testing.assert_array_equal(frames[0][centre(0, 1)], 0)
    np.testing.assert_allclose(frames[1][centre(0, 1)], (200, 40, 40), atol=8)
    np.testing.assert_array_equal(frames[1][centre(1, 1)], 0)
    assert (frames[2][top:] == 255).all()
    assert all((a[:top] != b[:top]).any() for a, b in itertools.pairwise(frames))
    with pytest.raises(ValueError, match="shorter"):
        save_grids(images, tmp_path / "grid.gif", ["t = 1"])


# --- videos --------------------------------------------------------------------------------------


def test_a_video_shows_the_frames_and_the_last_for_longer(tmp_path):
    try:
        program = film.ffmpeg()
    except VideoError:
        pytest.skip("no ffmpeg")
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    frames = [Image.new("RGB", (41, 33), colour) for colour in colours]  # odd sides
    save_frames(frames, tmp_path / "a.mp4", frame_ms=250)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    command = [program, "-loglevel", "error", "-i", str(tmp_path / "a.mp4")]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    video = np.frombuffer(raw, np.uint8).reshape(-1, 34, 42, 3)
    assert len(video) == 3 + 4  # the last one for a second more
    for frame, colour in zip(video, [*colours, *colours[2:] * 4], strict=True):
        np.testing.assert_allclose(frame[16, 20], colour, atol=12)


@pytest.fixture
def no_ffmpeg(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)


def test_a_video_without_ffmpeg_says_how_to_get_it(tmp_path, no_ffmpeg):
    frames = [Image.new("RGB", (4, 4))] * 2
    with pytest.raises(VideoError, match="pip install imageio-ffmpeg.*GIF needs nothing"):
        save_frames(frames, tmp_path / "a.mp4", 100)
    assert not list(tmp_path.iterdir())
    save_frames(frames, tmp_path / "a.gif", 100)


def test_the_systems_ffmpeg_comes_first_and_its_failure_is_told(tmp_path, monkeypatch):
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\ncat > /dev/null\necho no such codec >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(VideoError, match="ffmpeg failed: no such codec"):
        save_frames([Image.new("RGB", (4, 4))], tmp_path / "a.mp4", 100)
    assert not (tmp_path / "a.mp4").exists()


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"saved as \.gif or \.mp4"):
        save_frames([Image.new("RGB", (4, 4))], tmp_path / "a.webm", 100)

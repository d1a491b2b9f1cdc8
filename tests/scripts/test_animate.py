import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import script_modules
import small_runs
import workdirs
from PIL import Image

import drifting
from drifting import methods
from drifting.core import config as config_lib
from drifting.core.errors import ConfigError
from drifting.core.state import TrainState
from drifting.evaluation.generation import NonFiniteSamples
from drifting.pictures import film
from drifting.runs.build import facts_of, load_images
from drifting.runs.workdir import Run, WorkdirError
from drifting.training import checkpoints
from input_pipeline.space import Latents, Pixels

animate = script_modules.load("animate")

SCRIPT = pathlib.Path(animate.__file__)
GIVEN = dict(sampler="heun", steps=2, num=20, seed=3)
SMALL = {"method.batch_size": 32, "model.width": 16, "model.depth": 1, "ema_decay": 0.0}


def config_of(network, **changed):
    config = drifting.of("meanflow", network)
    config.update_from_flattened_dict(small_runs.LOGGED | SMALL | changed)
    return config


@pytest.fixture(scope="module")
def of_points(finished_flow):
    return finished_flow


def random_run(workdir, config):
    """A run whose only checkpoint has random weights, which saves training it."""
    facts = facts_of(load_images(config))
    method = methods.create(config, facts)
    draw = np.random.default_rng(0).standard_normal
    shapes = jax.eval_shape(method.init, jax.random.key(0))
    params = jax.tree.map(lambda s: jnp.asarray(0.3 * draw(s.shape), s.dtype), shapes.params)
    config_lib.write(workdir / "config.json", config, {"data": facts.to_json()})
    with contextlib.closing(checkpoints.Checkpoints(workdir / "checkpoints")) as saved:
        saved.save(TrainState.create(params, method.optimizers, method.decays), 6, {})
        saved.wait()
    return workdir


@pytest.fixture(scope="module")
def of_classes(tmp_path_factory):
    config = config_of("mlp", **{"data.source": "toy2d:moons"})
    return random_run(tmp_path_factory.mktemp("classes"), config)


@pytest.fixture(scope="module")
def of_images(tmp_path_factory):
    config = config_of("cnn", **{"data.source": "digits"})
    return random_run(tmp_path_factory.mktemp("images"), config)


@pytest.fixture
def copied(tmp_path):
    """copied(workdir, config or values by dotted key, facts) -> a copy of a run with these."""

    def copy(workdir, changed, **facts):
        shutil.copytree(workdir, tmp_path / "copy")
        path = tmp_path / "copy" / "config.json"
        config, kept = config_lib.read(path)
        if isinstance(changed, dict):
            config.update_from_flattened_dict(changed)
        else:
            config = changed
        config_lib.write(path, config, {"data": kept["data"] | facts})
        workdirs.remove_own_configs(path.parent)
        return tmp_path / "copy"

    return copy


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(animate, "FRAMES", 5)
    monkeypatch.setattr(animate, "ARROWS", 3)


@pytest.fixture
def drawn(monkeypatch):
    """Panels and captions of each animation of points, by file name."""
    seen = {}
    save = film.save_animation

    def kept(panels, path, columns, **options):
        seen[path.name] = panels, options
        save(panels, path, columns, **options)

    monkeypatch.setattr(film, "save_animation", kept)
    return seen


def ends(path):
    """The number of frames, and the first and the last of them."""
    with Image.open(path) as picture:
        frames = []
        for step in (0, picture.n_frames - 1):
            picture.seek(step)
            frames.append(np.asarray(picture.convert("RGB")))
        return picture.n_frames, *frames


# --- points --------------------------------------------------------------------------------------


def test_points_go_the_learned_way_beside_the_single_step(of_points, tmp_path, small, drawn):
    files = animate.animate(of_points, tmp_path / "out", **GIVEN)
    assert sorted(files) == sorted((tmp_path / "out").iterdir())
    assert [path.name for path in files] == ["paths.png", "paths.gif", "field.gif"]
    for path in files[1:]:
        count, first, last = ends(path)
        top = len(first) // 8  # where the time is
        assert count == 5 and (first[top:] != last[top:]).any()

    run = Run(of_points)
    state, _ = run.restore_last()
    z = jax.random.normal(jax.random.key(3), (20, 2))
    labels = jnp.zeros(20, jnp.int32)
    panels, options = drawn["paths.gif"]
    assert options["captions"][::2] == ["t = 1.00", "t = 0.50", "t = 0.00"]
    assert options["trail"] > 1
    assert list(panels) == ["heun, 2 steps", "one MeanFlow step"]
    followed, single = panels.values()
    _, way = run.method.with_sampler("heun", 2).trajectory(state, z, labels)
    np.testing.assert_allclose(followed.way[::2], way, atol=1e-5)
    u = run.method.field(state, labels)(z, jnp.ones(()), jnp.ones(()))
    for frame, gone in zip(single.way, np.linspace(0, 1, 5), strict=True):
        np.testing.assert_allclose(frame, z - gone * u, atol=1e-5)
    np.testing.assert_array_equal(followed.goal, load_images(run.config).images[:1000])
    reach = np.abs(options["plane"]).max(axis=0)
    assert np.all(reach >= animate.NOISE_REACH) and np.all(reach < 4)
    (field,) = drawn["field.gif"][0].values()
    np.testing.assert_array_equal(field.way, followed.way)


def test_arrows_are_the_way_that_particles_go(of_points, small):
    run = Run(of_points)
    state, _ = run.restore_last()
    way = np.random.default_rng(0).standard_normal((3, 6, 2))
    times, plane = np.float32([1.0, 0.5, 0.0]), np.float32([[-2, -1], [1, 3]])
    images, labels = load_images(run.config), np.zeros(6, np.int32)
    panels = animate.fields(run.method, images, state, way, labels, times, plane, cfg_scale=1.0)
    ((name, panel),) = panels.items()
    assert name == "" and panel.arrows.shape == (3, 9, 2)
    np.testing.assert_array_equal(panel.way, way)
    corners = [(-2, -1), (1, -1), (-2, 3), (1, 3)]
    assert set(corners) <= set(map(tuple, panel.places.tolist()))
    u = run.method.field(state, jnp.zeros(9, jnp.int32))
    for arrows, t in zip(panel.arrows, times, strict=True):
        v = u(jnp.asarray(panel.places), jnp.float32(t), jnp.zeros(()))
        np.testing.assert_allclose(arrows, -v, atol=1e-5)


def test_without_mean_velocities_there_is_no_single_step(of_points, copied, tmp_path, small, drawn):
    changed = {"method.share_r_neq_t": 0.0, "method.sampler": "euler"}
    workdir = copied(of_points, changed)
    files = animate.animate(workdir, **GIVEN)
    assert {path.parent for path in files} == {workdir / "animations"}
    assert list(drawn["paths.gif"][0]) == ["heun, 2 steps"]


def test_each_class_has_its_field_and_its_points(of_classes):
    run = Run(of_classes)
    state, _ = run.restore_last()
    labels = np.arange(6) % 2
    way = np.random.default_rng(0).standard_normal((3, 6, 2))
    times = np.float32([1.0, 0.5, 0.0])
    plane = np.float32([[-1, -1], [1, 1]])
    images = load_images(run.config)
    panels = animate.fields(run.method, images, state, way, labels, times, plane, cfg_scale=2.0)
    assert list(panels) == ["class upper", "class lower"]
    places = jnp.asarray(animate.grid(plane))
    for k, panel in enumerate(panels.values()):
        np.testing.assert_array_equal(panel.way, way[:, k::2])
        real = images.images[:1000][images.labels[:1000] == k]
        np.testing.assert_array_equal(panel.goal, real)
        u = run.method.field(state, jnp.full(len(places), k), 2.0)
        v = u(places, jnp.float32(0.5), jnp.zeros(()))
        np.testing.assert_allclose(panel.arrows[1], -v, atol=1e-5)
    upper, lower = panels.values()
    assert not np.allclose(upper.arrows, lower.arrows)


def test_a_single_step_is_not_shown_twice(of_points):
    run = Run(of_points)
    state, _ = run.restore_last()
    labels = np.zeros(4, np.int32)
    names = {
        ("meanflow", 1): ["meanflow, 1 step"],
        ("meanflow", 2): ["meanflow, 2 steps", "one MeanFlow step"],
    }
    for how, expected in names.items():
        method = run.method.with_sampler(*how)
        assert list(animate.paths(method, state, jax.random.key(0), labels, 1.0)) == expected


def test_between_the_states_of_a_way_points_go_straight():
    way = np.random.default_rng(0).standard_normal((4, 5, 2))
    times = np.linspace(1.0, 0.0, 8)
    found = animate.at_times(way, times)
    known = np.linspace(1.0, 0.0, 4)
    for point in range(5):
        for side in range(2):
            expected = np.interp(-times, -known, way[:, point, side])
            np.testing.assert_allclose(found[:, point, side], expected)


# --- images --------------------------------------------------------------------------------------


def test_images_are_shown_at_states_of_their_way(of_images, tmp_path, monkeypatch):
    saved, films = [], []
    monkeypatch.setattr(animate.pictures, "save_grid", lambda *a, **k: saved.append((a, k)))
    save = film.save_grids
    monkeypatch.setattr(
        film, "save_grids", lambda images, *a: (films.append((images, *a)), save(images, *a))
    )
    files = animate.animate(of_images, tmp_path, **(GIVEN | {"sampler": "euler", "steps": 30}))
    assert [path.name for path in files] == ["denoising.png", "denoising.gif"]
    count, first, last = ends(files[1])
    assert count == 25 and (first[32:] != last[32:]).any()

    run = Run(of_images)
    state, _ = run.restore_last()
    labels = jnp.arange(64) % 10
    z = jax.random.normal(jax.random.key(3), (64, 8, 8, 1))
    _, way = run.method.with_sampler("euler", 30).trajectory(state, z, labels)
    one, _ = run.method.with_sampler("meanflow", 1).trajectory(state, z, labels)

    def eight_bit(x):
        return np.clip(np.round(127.5 * np.asarray(x) + 127.5), 0, 255)

    (((strip, _), given),) = saved
    assert strip.shape == (8, 13, 8, 8, 1)
    headings = given["column_headings"]
    assert headings[0] == "t = 1.00" and headings[-2:] == ["t = 0.00", "one step"]
    times = [float(heading.removeprefix("t = ")) for heading in headings[:-1]]
    for column, t in enumerate(times):
        expected = eight_bit(way[round(30 * (1 - t)), :8])
        np.testing.assert_allclose(strip[:, column], expected, atol=1)
    np.testing.assert_allclose(strip[:, -1], eight_bit(one[:8]), atol=1)
    ((frames, _, captions),) = films
    assert frames.shape == (25, 8, 8, 8, 8, 1) and captions[0] == "t = 1.00"
    np.testing.assert_allclose(frames[-1].reshape(64, 8, 8, 1), eight_bit(way[-1]), atol=1)


def test_latents_are_shown_decoded(of_images, tmp_path, monkeypatch):
    """Here by a decoder that makes white images of all latents."""
    run, films = Run(of_images), []
    white = Latents((8, 8, 1), lambda one, x: jnp.full((len(x), 4, 4, 3), one), Pixels((4, 4, 3)))
    run.decoder = types.SimpleNamespace(space=white, parameters=1.0)
    monkeypatch.setattr(animate, "open_run", lambda workdir: run)
    monkeypatch.setattr(film, "save_grids", lambda images, *_: films.append(images))
    animate.animate(of_images, tmp_path, **(GIVEN | {"steps": 2}))
    assert films[0].shape == (3, 8, 8, 4, 4, 3) and (films[0] == 255).all()


def test_a_strip_of_images_is_a_picture(of_images, tmp_path, monkeypatch):
    monkeypatch.setattr(animate, "FILM_WIDTH", 24)  # as if 8 pixels were many: 3 x 3 images
    strip, moving = animate.animate(of_images, tmp_path, **(GIVEN | {"steps": 2}))
    with Image.open(strip) as picture:  # three times and the single step; headings above
        assert picture.width > 4 * 64 and picture.height > picture.width * 8 // 4
    count, first, _ = ends(moving)
    assert count == 3 and 256 <= first.shape[1] < 320


def test_states_of_a_way_are_spread_over_its_times():
    way = np.arange(11)
    states, times = animate.evenly(way, 3)
    assert states.tolist() == [0, 5, 10] and times == ["t = 1.00", "t = 0.50", "t = 0.00"]
    states, times = animate.evenly(way[:2], 12)
    assert states.tolist() == [0, 1] and times == ["t = 1.00", "t = 0.00"]


# --- mistakes ------------------------------------------------------------------------------------


def test_runs_without_a_path_are_refused(of_images, copied, small_config):
    workdir = copied(of_images, small_config())
    with pytest.raises(WorkdirError, match="method 'drifting'.*there is no path to"):
        animate.animate(workdir, **GIVEN)
    assert not (workdir / "animations").exists()


def test_latents_that_nothing_decodes_are_refused(of_images, copied):
    workdir = copied(of_images, {}, space=Latents((8, 8, 1)).to_json())
    with pytest.raises(WorkdirError, match="latents of digits, which no autoencoder decodes"):
        animate.animate(workdir, **GIVEN)
    with pytest.raises(WorkdirError, match="latents of digits, which no autoencoder decodes"):
        drifting.evaluate(workdir)


def test_unknown_samplers_and_places_are_refused(of_points, tmp_path):
    with pytest.raises(ConfigError, match="'rk5'.*did you mean 'rk4'"):
        animate.animate(of_points, tmp_path, **(GIVEN | {"sampler": "rk5"}))
    (tmp_path / "file").touch()
    with pytest.raises(WorkdirError, match="cannot write --out .*file: File exists"):
        animate.animate(of_points, tmp_path / "file", **GIVEN)


def test_a_diverged_checkpoint_is_refused(of_points):
    run = Run(of_points)
    state, _ = run.restore_last()
    bad = jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), state.params)
    method = run.method.with_sampler("euler", 2)
    given = jax.random.key(0), np.zeros(4, np.int32), 1.0
    with pytest.raises(NonFiniteSamples, match="euler, 2 steps: .* has diverged"):
        animate.paths(method, state.replace(params=bad, ema_params=bad), *given)


def test_a_video_without_ffmpeg_ends_in_one_line_before_the_work(tmp_path):
    program = (
        "import runpy, sys; sys.modules['imageio_ffmpeg'] = None;"
        f"sys.argv = ['animate.py', '--workdir', 'nowhere', '--format', 'mp4'];"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PATH": str(tmp_path), "PYTHONPATH": str(SCRIPT.parent.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --format mp4: MP4 needs ffmpeg")
    assert "GIF needs nothing" in done.stderr and done.stderr.count("\n") == 1

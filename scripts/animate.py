"""Animations of how a run of flow matching or MeanFlow turns noise into samples.

    python scripts/animate.py --workdir runs/meanflow_toy2d
    python scripts/animate.py --workdir runs/meanflow_digits --sampler heun --sampling_steps 25

Time runs from t = 1 (noise) to t = 0 (samples). For points it writes

    paths.gif   particles that follow the learned velocity, next to a single MeanFlow step of the
                same noise, which is drawn as a straight line over the same time
    paths.png   their trajectories
    field.gif   the velocity over time with particles on it; for a class-conditional run, of the
                first four classes. Time runs backwards, so particles and arrows go along -v

and for images

    denoising.gif   64 samples (fewer if images are large) over time
    denoising.png   eight of them at twelve times, and the single MeanFlow step of the same noise

The single step is left out if no mean velocities were learned. With --format mp4 the animations are
.mp4 files, which requires ffmpeg.
"""

import logging
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from drifting import cli, pictures
from drifting.core.method import FlowGenerator
from drifting.evaluation.generation import NonFiniteSamples
from drifting.pictures import film
from drifting.runs.build import load_images
from drifting.runs.frozen import open_run
from drifting.runs.workdir import WorkdirError
from drifting.training import backend
from input_pipeline.space import Points

log = logging.getLogger("drifting")

WORKDIR = flags.DEFINE_string("workdir", None, "Workdir of a run of method meanflow")
OUT = flags.DEFINE_string("out", None, "Folder to write to; <workdir>/animations if not given")
FORMAT = flags.DEFINE_enum("format", "gif", ["gif", "mp4"], "Format of the animations")
SAMPLER = flags.DEFINE_string("sampler", "euler", "Sampler: euler, heun, rk4 or meanflow")
STEPS = flags.DEFINE_integer("sampling_steps", 50, "Steps of the sampler", lower_bound=1)
NUM = flags.DEFINE_integer("num", 600, "Number of points, if the data are points", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Seed of the noise")
CFG_SCALE = flags.DEFINE_float("cfg_scale", None, "Guidance scale; if not given, the config's")

FRAMES = 51  # of an animation of points
FRAME_MS = 80
TRAIL = 8  # frames
ARROWS = 18  # along each side of the plane
MOST_FIELDS = 4
LEAST_REAL = 1000  # real points, at least, for comparison
NOISE_REACH = 2.5  # standard deviations of the noise that the picture always covers

IMAGE_FRAMES = 25
MOST_SIDE, FILM_WIDTH = 8, 256  # images and pixels along a side of an animation
STRIP_ROWS, STRIP_TIMES, STRIP_CELL = 8, 12, 64  # STRIP_CELL: pixels, wide enough for a heading


def animate(workdir, out=None, *, sampler, steps, num, seed, cfg_scale=None, suffix="gif"):
    """Writes the animations of a run to the folder `out`; returns their paths."""
    run = open_run(workdir)
    run.require_generator()
    if not isinstance(run.method, FlowGenerator):
        raise WorkdirError(
            f"{run.workdir} is a run of method {run.config.method.name!r}, which samples in one "
            "step, so there is no path to show; choose a run of method 'meanflow'"
        )
    run.use_sampler(sampler, steps)
    out = _make_folder(pathlib.Path(out) if out else run.workdir / "animations")
    state, step = run.restore_last()
    run = run.at(step)
    cfg_scale = run.config.eval.cfg_scale if cfg_scale is None else cfg_scale
    log.info("step %d of %s", step, run.workdir)
    key = jax.random.key(seed)
    if isinstance(run.facts.space, Points):
        images = load_images(run.config, class_names=run.facts.class_names)
        return animate_points(run.method, images, state, out, num, key, cfg_scale, suffix)
    return animate_images(run, state, out, key, cfg_scale, suffix)


def _make_folder(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkdirError(
            f"cannot write --out {folder}: {error.strerror}; choose another"
        ) from error
    return folder


def paths(method, state, key, labels, cfg_scale):
    """Trajectories [steps + 1, B, ...] of the same noise by name: of the sampler, of one step.

    Raises:
      NonFiniteSamples: a trajectory has NaN or infinite values.
    """
    sampler, steps = method.settings.sampler, method.settings.sampling_steps
    followed = {f"{sampler}, {steps} step{'s' if steps > 1 else ''}": method}
    if method.settings.rows_r_neq_t and (sampler, steps) != ("meanflow", 1):
        followed["one MeanFlow step"] = method.with_sampler("meanflow", 1)
    z = jax.random.normal(key, (len(labels), *method.space.shape))
    trajectories = {}
    for name, how in followed.items():
        follow = jax.jit(lambda s, z, how=how: how.trajectory(s, z, labels, cfg_scale)[1])
        trajectories[name] = np.asarray(follow(state, z), np.float32)
        if not np.isfinite(trajectories[name]).all():
            raise NonFiniteSamples(
                f"{name}: samples have NaN or infinite values; this checkpoint has diverged"
            )
    return trajectories


# --- points --------------------------------------------------------------------------------------


def animate_points(method, images, state, out, num, key, cfg_scale, suffix):
    real = images.images[: max(num, LEAST_REAL)]
    labels = np.resize(np.arange(method.num_classes, dtype=np.int32), num)
    times = np.linspace(1.0, 0.0, FRAMES, dtype=np.float32)
    trajectories = paths(method, state, key, labels, cfg_scale)
    plane = np.concatenate([real, [[-NOISE_REACH] * 2, [NOISE_REACH] * 2]])
    shown = dict(captions=[f"t = {t:.2f}" for t in times], plane=plane, frame_ms=FRAME_MS)

    still, paths_film, field_film = (
        out / name for name in ("paths.png", f"paths.{suffix}", f"field.{suffix}")
    )
    pictures.plot_paths(trajectories, real, plane, still)
    moving = {
        name: film.Moving(at_times(trajectory, times), real)
        for name, trajectory in trajectories.items()
    }
    film.save_animation(moving, paths_film, len(moving), trail=TRAIL, side=3.2, **shown)
    trajectory = at_times(next(iter(trajectories.values())), times)
    panels = fields(method, images, state, trajectory, labels, times, plane, cfg_scale)
    columns, side = (1, 4.0) if len(panels) == 1 else (2, 3.0)
    film.save_animation(
        panels, field_film, columns, side=side, length_name="|v|, arrows along -v", **shown
    )
    return [still, paths_film, field_film]


def at_times(trajectory, times):
    """States [T, N, 2] at `times`, interpolated linearly in a trajectory [steps + 1, N, 2]."""
    place = (1.0 - times) * (len(trajectory) - 1)
    before = np.minimum(place.astype(int), len(trajectory) - 2)
    rest = (place - before)[:, None, None]
    return (1.0 - rest) * trajectory[before] + rest * trajectory[before + 1]


def fields(method, images, state, trajectory, labels, times, plane, cfg_scale):
    """One panel per class: -v at `times`, with the points of `trajectory` [T, N, 2]."""
    places = grid(plane)
    arrows = jax.jit(lambda s, k: -velocities(method, s, k, cfg_scale, jnp.asarray(places), times))
    real, real_labels = (a[:LEAST_REAL] for a in (images.images, images.labels))
    if not method.settings.class_conditional:
        return {"": film.Moving(trajectory, real, places, np.asarray(arrows(state, 0)))}
    return {
        f"class {images.class_names[k]}": film.Moving(
            trajectory[:, labels == k], real[real_labels == k], places, np.asarray(arrows(state, k))
        )
        for k in np.unique(labels)[:MOST_FIELDS]
    }


def velocities(method, state, label, cfg_scale, places, times):
    """The instantaneous velocities [T, G, 2] of a class at places [G, 2] and times [T]."""
    labels = jnp.full((len(places),), label, jnp.int32)
    u = method.field(state, labels, cfg_scale)
    return jax.lax.map(lambda t: u(places, t, jnp.zeros_like(t)), jnp.asarray(times))


def grid(plane):
    """A grid [ARROWS^2, 2] that covers the points `plane` [P, 2]."""
    sides = np.linspace(plane.min(axis=0), plane.max(axis=0), ARROWS, dtype=np.float32)
    columns, rows = np.meshgrid(*sides.T)
    return np.stack([columns.ravel(), rows.ravel()], axis=1)


# --- images --------------------------------------------------------------------------------------


def animate_images(run, state, out, key, cfg_scale, suffix):
    # Noise does not compress: many large images would make a GIF of tens of megabytes.
    method, shown = run.method, run.space.shown
    side = int(np.clip(FILM_WIDTH // shown.shape[1], 2, MOST_SIDE))
    labels = np.resize(np.arange(method.num_classes, dtype=np.int32), max(side**2, STRIP_ROWS))
    trajectories = paths(method, state, key, labels, cfg_scale)
    trajectories = {
        name: np.asarray(shown.to_stored(run.space.to_picture(trajectory, run.decoder_parameters)))
        for name, trajectory in trajectories.items()
    }
    trajectory, *single = trajectories.values()

    strip, moving = out / "denoising.png", out / f"denoising.{suffix}"
    columns, headings = evenly(trajectory[:, :STRIP_ROWS], STRIP_TIMES)
    for one in single:
        columns = np.concatenate([columns, one[-1:, :STRIP_ROWS]])
        headings.append("one step")
    width = STRIP_CELL * len(columns)
    pictures.save_grid(columns.swapaxes(0, 1), strip, column_headings=headings, width=width)
    frames, captions = evenly(trajectory[:, : side**2], IMAGE_FRAMES)
    grids = frames.reshape(len(frames), side, side, *frames.shape[2:])
    film.save_grids(grids, moving, captions)
    return [strip, moving]


def evenly(trajectory, most):
    """At most `most` states of a trajectory [steps + 1, ...], with both ends, and their times."""
    steps = len(trajectory) - 1
    chosen = np.unique(np.linspace(0, steps, min(most, len(trajectory))).round().astype(int))
    return trajectory[chosen], [f"t = {1 - k / steps:.2f}" for k in chosen]


def main(_):
    backend.configure()
    if FORMAT.value == "mp4":
        try:
            film.ffmpeg()  # fail before the work
        except film.VideoError as error:
            raise flags.IllegalFlagValueError(f"--format mp4: {error}") from error
    written = animate(
        WORKDIR.value,
        OUT.value,
        sampler=SAMPLER.value,
        steps=STEPS.value,
        num=NUM.value,
        seed=SEED.value,
        cfg_scale=CFG_SCALE.value,
        suffix=FORMAT.value,
    )
    for path in written:
        log.info("%s", path)


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    cli.run(main)

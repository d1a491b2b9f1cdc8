"""Kernel and learned drifting fields in the plane: pictures, an animation and energy distances.

    python scripts/toy_field.py --target moons --out runs/toy
    python scripts/toy_field.py --target all --out runs/toy

Writes field_<target>.png (both fields around three starting sets), drift_<target>.gif (the sets as
they drift) and energy.json: unbiased energy distances to fresh points of the target before the
first and after the last step, which are also printed as a table. The row "positives" has the
distance of the positives themselves, which a set that coincides with them attains.

The learned field is trained here in under a minute with the lookahead objective: one step x + V
should bring a set close to points that it has not seen. The sets start anywhere and take several
steps, so that the field learns the way as well as the end.

The kernel field is the raw V in the plane, summed over two temperatures and multiplied by a step
size with which it converges to the target from all three starts. (Scaled to unit size, as in the
`sphere` form, it would never stop moving.)
"""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from drifting import cli, pictures
from drifting.core.files import write_atomically
from drifting.fields import kernel, learned
from drifting.fields.objectives import energy_distance
from drifting.pictures import film
from input_pipeline.sources import toy2d

TARGETS = ("rings", "moons", "gaussians")
TARGET_SCALE = 0.8  # standard deviation of a coordinate: targets are about 2 wide
POOL = 50_000  # points of a target to draw from
TEMPERATURES = (0.3, 1.0)  # of targets about 2 wide
KERNEL_STEP = 2.0
DRIFT_STEPS = 24
POINTS = 64  # per set
FRESH_POINTS = 2000

SETS = 4  # per training step
LOOKAHEADS = 3  # steps of each set
NORM_PENALTY = 1e-3
LEARNING_RATE = 5e-3


# --- targets and starts --------------------------------------------------------------------------


def draws_of(target):
    """(key, n) -> n points [n, 2] of a target of sources/toy2d.py."""
    points = TARGET_SCALE * jnp.asarray(toy2d.draw(target, POOL, seed=0)[0])
    return lambda key, n: jax.random.choice(key, points, (n,))


# Centre and standard deviation.
STARTS = {"middle": ((0.0, 0.0), 0.2), "far": ((2.6, 1.9), 0.2), "collapsed": ((-1.4, 1.0), 0.01)}


def start(key, name):
    centre, spread = STARTS[name]
    return jnp.asarray(centre)[None] + spread * jax.random.normal(key, (POINTS, 2))


def any_start(key, points):
    """Sets of any place and size; every other one is moved towards `points` [C, N, 2]."""
    keys = jax.random.split(key, 5)
    one = (len(points), 1, 1)
    spread = 10.0 ** jax.random.uniform(keys[0], one, minval=-2.0, maxval=0.3)
    reach = jax.random.uniform(keys[1], one, maxval=2.5)
    centre = reach * jax.random.normal(keys[2], (len(points), 1, 2))
    x = centre + spread * jax.random.normal(keys[3], points.shape)
    left = jnp.square(jax.random.uniform(keys[4], one))  # most of them close to `points`
    left = jnp.where((jnp.arange(len(points)) % 2 == 0)[:, None, None], 1.0, left)
    return points + left * (x - points)


# --- fields --------------------------------------------------------------------------------------


def kernel_step(x, positives):
    """The step of the kernel field at x [C, N, 2], whose points repel each other."""
    return KERNEL_STEP * jnp.sum(kernel.drift(x, positives, x, TEMPERATURES, True), axis=0)


def learned_step(params, x, positives):
    return learned.drift(params, learned.Sets(x, positives, negatives=x), "masked")


def lookahead_loss(params, key, draw):
    """The energy distance to fresh points after each of a few steps, detached from each other."""
    keys = jax.random.split(key)
    positives, fresh, others = draw(keys[0], 3 * SETS * POINTS).reshape(3, SETS, POINTS, 2)
    x, loss = any_start(keys[1], others), 0.0
    for _ in range(LOOKAHEADS):
        v = learned_step(params, x, positives)
        loss += jnp.mean(energy_distance(x + v, fresh)) + NORM_PENALTY * jnp.mean(jnp.square(v))
        x = jax.lax.stop_gradient(x + v)
    return loss / LOOKAHEADS


def train(key, draw, steps):
    """The parameters of a field that is trained to move sets to the target."""
    key_init, key_steps = jax.random.split(key)
    params = learned.init(key_init, 2, hidden=64, projection=48, score_hidden=32)
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))

    def step(carry, key):
        params, state = carry
        gradient = jax.grad(lookahead_loss)(params, key, draw)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    run = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys)[0][0])
    return run((params, optimizer.init(params)), jax.random.split(key_steps, steps))


# --- pictures and distances ----------------------------------------------------------------------


def walk(step, x, positives):
    """The trajectory [T, N, 2] of x [N, 2]."""

    def one(x, _):
        x = x + step(x, positives[None])
        return x, x[0]

    _, way = jax.lax.scan(one, x[None], length=DRIFT_STEPS)
    return jnp.concatenate([x[None], way])


def around(step, x, positives, places):
    """The step of an additional point of x [N, 2] at each of `places` [G, 2]: [G, 2]."""
    x, positives = (jnp.broadcast_to(s[None], (len(places), *s.shape)) for s in (x, positives))
    return step(jnp.concatenate([places[:, None], x], axis=1), positives)[:, 0]


def grid():
    columns, rows = np.meshgrid(np.linspace(-2.2, 3.2, 19), np.linspace(-1.8, 2.5, 15))
    return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)


def energies(ways, positives, fresh):
    """{"positives": distance, field: {starting set: {"start": distance, "end": distance}}}."""

    def of(points):
        return round(float(energy_distance(points[None], fresh[None])[0]), 4)

    result = {"positives": of(positives)}
    for (name, begin), way in ways.items():
        result.setdefault(name, {})[begin] = {"start": of(way[0]), "end": of(way[-1])}
    return result


def show(target, steps, seed, out):
    """Trains a field for a target, writes the pictures, and returns the energy distances."""
    keys = jax.random.split(jax.random.key(seed), 4)
    draw = draws_of(target)
    positives, fresh = draw(keys[0], POINTS), draw(keys[1], FRESH_POINTS)
    params = train(keys[2], draw, steps)
    forms = {"kernel": kernel_step, "learned": functools.partial(learned_step, params)}
    fields, ways = {}, {}
    for name, step in forms.items():
        arrows, way = (jax.jit(functools.partial(f, step)) for f in (around, walk))
        for begin in STARTS:
            x = start(keys[3], begin)
            field = grid(), arrows(x, positives, grid()), x, positives
            fields[name, begin] = pictures.VectorField(*map(np.asarray, field))
            ways[name, begin] = np.asarray(way(x, positives))
    draw_all(target, fields, ways, positives, pathlib.Path(out))
    return energies(ways, positives, fresh)


def draw_all(target, fields, ways, positives, out):
    out.mkdir(parents=True, exist_ok=True)

    def titled(panels):
        return {f"{name}, {begin}": panel for (name, begin), panel in panels.items()}

    pictures.plot_vector_fields(
        titled(fields), out / f"field_{target}.png", len(STARTS), "length of a step"
    )
    goal = np.asarray(positives)
    moving = {key: film.Moving(way, goal) for key, way in ways.items()}
    film.save_animation(titled(moving), out / f"drift_{target}.gif", len(STARTS))


def table(results):
    lines = ["| target | field | start | energy distance before | after |"]
    lines.append("| --- | --- | --- | ---: | ---: |")
    for target, result in results.items():
        lines.append(f"| {target} | positives | | | {result['positives']:.4f} |")
        for name in ("kernel", "learned"):
            for begin, e in result[name].items():
                ends = f"{e['start']:.4f} | {e['end']:.4f}"
                lines.append(f"| {target} | {name} | {begin} | {ends} |")
    return "\n".join(lines)


def run(targets, steps, seed, out):
    results = {target: show(target, steps, seed, out) for target in targets}
    content = json.dumps(results, indent=2) + "\n"
    write_atomically(pathlib.Path(out) / "energy.json", content.encode())
    print(table(results))
    return results


TARGET = flags.DEFINE_enum("target", "moons", [*TARGETS, "all"], "Distribution to move points to")
OUT = flags.DEFINE_string("out", "runs/toy", "Folder to write to")
STEPS = flags.DEFINE_integer("steps", 300, "Training steps of the learned field", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Seed of all draws")


def main(_):
    targets = list(TARGETS) if TARGET.value == "all" else [TARGET.value]
    run(targets, STEPS.value, SEED.value, OUT.value)


if __name__ == "__main__":
    cli.run(main)

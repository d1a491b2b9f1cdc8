"""How much one step of a run's learned field reduces the energy distance to real data.

    python scripts/field_energy.py --workdir runs/cifar10_ldf
    python scripts/field_energy.py --workdir runs/cifar10_ldf --field_step 0    # as initialised

For fresh draws of samples x, positives P and held-out real images of the test split, it measures
the energy distance of x to the held-out images per class, in the run's features and coordinates,
before and after the step x + V(x; P, Q = x). V is the learned field, or a kernel field of a single
temperature whose steps are scaled per class to the root mean square of the learned ones. Prints
JSON: for each feature the mean and standard deviation over the draws, the best temperature, and the
share of draws in which the learned step ends closer than that of this temperature.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import timing
from absl import flags

from drifting import cli
from drifting.core import config as config_lib
from drifting.fields import kernel, objectives
from drifting.methods.drifting import targets as target_lib
from drifting.methods.drifting.method import Drifting
from drifting.runs import frozen as frozen_lib
from drifting.runs.build import load_images
from drifting.runs.workdir import Run, WorkdirError, read_facts
from drifting.training import backend
from input_pipeline import augment

WORKDIR = flags.DEFINE_string("workdir", None, "Workdir of a run with a learned field")
DRAWS = flags.DEFINE_integer("draws", 50, "Fresh draws", lower_bound=2)
HELD_OUT = flags.DEFINE_integer("held_out", 256, "Held-out images per class", lower_bound=2)
FIELD_STEP = flags.DEFINE_integer(
    "field_step",
    None,
    "Checkpoint of the field, if not that of the samples; 0: as initialised",
)
SEED = flags.DEFINE_integer("seed", 0, "Seed of the draws")

TEMPERATURES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # in units of the mean distance


def make_draw(method, images, test_images, held_out):
    """The jitted function (state, frozen, key) -> energy distances [features, steps].

    The steps are: none, the learned field's, and the kernel field's for each temperature.
    """
    data, test, settings = images.to_device(), test_images.to_device(), method.settings
    classes = jnp.arange(method.num_classes, dtype=jnp.int32)
    labels = jnp.repeat(classes, settings.num_generated)

    def distance(x, real):
        """Of the two empirical distributions, so never negative; the mean over groups."""
        return jnp.mean(objectives.energy_distance(x, real, own_pairs=True))

    def draw(state, frozen, key):
        keys = jax.random.split(key, 5)
        x = method.sample(state, keys[0], labels, ema=False)
        positives = data.positives(keys[1], classes, method.num_drawn)
        real = test.positives(keys[2], classes, held_out)
        if method.flip:  # as in training, where the samples follow mirrored images as well
            positives = augment.random_flip(keys[3], positives)
            real = augment.random_flip(keys[4], real)
        stacks = [
            method.phi(frozen.get("encoder"), images.reshape(-1, *method.space.shape))
            for images in (x, positives, real)
        ]
        # Each [C, N, D], for each feature.
        sets = [
            [target_lib.by_class(settings, s) for s in feature]
            for feature in zip(*stacks, strict=True)
        ]
        targets = [target_lib.kernel_target(settings, x, p, None, None) for x, p, _ in sets]
        valid = jnp.ones(len(classes))
        learned_sets = [
            target_lib.feature_sets(settings, x, p, None, target, None, valid)
            for (x, p, _), target in zip(sets, targets, strict=True)
        ]
        drifts = method.field.drifts(state.params["field"], learned_sets)
        rows = []
        for (*_, real), target, feature, drift in zip(
            sets, targets, learned_sets, drifts, strict=True
        ):
            steps = [jnp.zeros_like(drift), drift, *kernel_steps(feature, method, drift)]
            held = real / target.scale
            rows.append(jnp.stack([distance(feature.x + step, held) for step in steps]))
        return jnp.stack(rows)

    return jax.jit(draw)


def kernel_steps(feature, method, drift):
    """The kernel field's steps of each temperature, scaled to the root mean square of `drift`."""
    positives = feature.positives[:, : method.settings.num_positives]
    unit = jnp.mean(kernel.distances(feature.x, positives))
    for temperature in TEMPERATURES:
        step = kernel.drift(feature.x, positives, feature.x, (unit * temperature,), True)[0]
        yield step * (root_mean_square(drift) / root_mean_square(step))


def root_mean_square(drift):
    """The root mean square of each group of [C, N, D]: [C, 1, 1]."""
    return jnp.sqrt(jnp.mean(jnp.square(drift), axis=(1, 2), keepdims=True))


def summarize(values):
    """The printed summary of energy distances [draws, features, steps]."""
    features = []
    for feature in np.moveaxis(values, 1, 0):
        mean, spread = feature.mean(axis=0), feature.std(axis=0, ddof=1)
        best = 2 + int(np.argmin(mean[2:]))
        named = {"before": 0, "learned": 1, "best_kernel": best}
        features.append(
            {
                **{name: {"mean": float(mean[i]), "std": float(spread[i])}
                   for name, i in named.items()},
                "best_temperature": TEMPERATURES[best - 2],
                "by_temperature": dict(zip(TEMPERATURES, mean[2:].tolist(), strict=True)),
                "learned_wins": float(np.mean(feature[:, 1] < feature[:, best])),
            }
        )  # fmt: skip
    return features


def open_run(workdir):
    """Opens a run with its encoder, for whose features the field is built.

    Raises:
      WorkdirError: it has no learned field.
    """
    workdir = pathlib.Path(workdir).expanduser()
    config, facts = config_lib.read_complete(workdir / "config.json")
    shape = read_facts(workdir, facts).space.shape
    run = Run(workdir, frozen_lib.load(config, shape))
    if not isinstance(run.method, Drifting) or run.method.field is None:
        raise WorkdirError(
            f"{run.workdir} has no learned field; choose a run with config.method.field = 'learned'"
        )
    return run


def main(_):
    backend.configure()
    run = open_run(WORKDIR.value)
    state, step = run.restore_last()
    run = run.at(step)
    field_step = step if FIELD_STEP.value is None else FIELD_STEP.value
    state.params["field"] = run.restore(field_step)[0].params["field"]
    names = run.facts.class_names
    images = load_images(run.config, class_names=names)
    test_images = load_images(run.config, run.config.data.test_split, names)
    draw = make_draw(run.method, images, test_images, HELD_OUT.value)
    keys = jax.random.split(jax.random.key(SEED.value), DRAWS.value)
    values = np.stack([np.asarray(draw(state, run.frozen, key)) for key in keys])
    report = {
        **timing.machine(),
        "workdir": str(run.workdir),
        "step": step,
        "field_step": field_step,
        "objective": run.config.field.objective,
        "draws": DRAWS.value,
        "samples_a_class": run.method.settings.num_generated,
        "positives_a_class": run.method.settings.num_positives,
        "held_out_a_class": HELD_OUT.value,
        "features": summarize(values),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    cli.run(main)

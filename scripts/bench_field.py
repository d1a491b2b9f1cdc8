"""Times the drifting field, forward and backward, and prints JSON.

    python scripts/bench_field.py

For each form: 10 classes x 32 generated and 32 positives at several dimensions, then how the time
grows with N (generated), M (positives) and D, one at a time.
"""

import json
import sys

import jax
import jax.numpy as jnp
import timing
from absl import app, flags

from drifting.fields import kernel

CLASSES = flags.DEFINE_integer("classes", 10, "Classes", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 30, "Timed calls of each size", lower_bound=1)

TEMPERATURES = (0.02, 0.05, 0.2)
DIMENSIONS = (64, 128, 256, 512)
SET_SIZES = (32, 64, 128, 256)
# The seed system's PyTorch loop over classes, on two cores of the kind in docs/benchmarks.md.
REFERENCE_MS = 34.6


def sphere(features, positives):
    features, positives = kernel.l2_normalize(features), kernel.l2_normalize(positives)
    target = kernel.sphere_target(features, positives, TEMPERATURES)
    return jnp.mean(kernel.regression_loss(features, target))


def distance(features, positives):
    target = kernel.distance_target(features, positives, temperatures=TEMPERATURES)
    return jnp.mean(kernel.regression_loss(features, target))


FORMS = {"sphere": sphere, "distance": distance}


def milliseconds(form, n, m, d):
    """Median ms of the loss and its gradient to the generated features."""
    keys = jax.random.split(jax.random.key(0))
    features = jax.random.normal(keys[0], (CLASSES.value, n, d))
    positives = jax.random.normal(keys[1], (CLASSES.value, m, d))
    step = jax.jit(jax.value_and_grad(FORMS[form]))
    took = timing.median_ms(lambda: step(features, positives), REPEATS.value)
    print(f"{form}: N {n}, M {m}, D {d}: {took} ms", file=sys.stderr, flush=True)
    return took


def measure(form):
    base = {d: milliseconds(form, 32, 32, d) for d in DIMENSIONS}
    return {
        "ms_by_dimension": base,
        "ms_all_dimensions": round(sum(base.values()), 4),
        "times_faster_than_reference": {d: round(REFERENCE_MS / t, 1) for d, t in base.items()},
        "ms_by_generated": {n: milliseconds(form, n, 32, 256) for n in SET_SIZES},
        "ms_by_positives": {m: milliseconds(form, 32, m, 256) for m in SET_SIZES},
        "ms_by_dimension_at_64": {d: milliseconds(form, 64, 64, d) for d in (*DIMENSIONS, 1024)},
    }


def main(_):
    result = {
        **timing.machine(),
        "classes": CLASSES.value,
        "temperatures": TEMPERATURES,
        "reference_ms": REFERENCE_MS,
        "forms": {form: measure(form) for form in FORMS},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    app.run(main)

"""Times the drifting fields, forward and backward, and prints JSON.

    python scripts/bench_field.py
    python scripts/bench_field.py --forms learned

For each form of the kernel field: 10 classes with 32 generated and 32 positives at several
dimensions, then the growth with N (generated), M (positives) and D, one at a time.

For the learned field: the mean square of V with its gradients with respect to the parameters and to
x, which are also the negatives, compared to the naive form (naive_learned_field.py) in alternating
calls; the memory of both compiled programs; the growth with N, M and both.
"""

import functools
import json
import statistics

import jax
import jax.numpy as jnp
import naive_learned_field
import timing
from absl import flags

from drifting import cli
from drifting.fields import kernel, learned

FORMS = flags.DEFINE_list("forms", ["sphere", "distance", "learned"], "Forms of the field to time")
CLASSES = flags.DEFINE_integer("classes", 10, "Classes", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 30, "Timed calls per size", lower_bound=1)

TEMPERATURES = (0.02, 0.05, 0.2)
DIMENSIONS = (64, 128, 256, 512)
SET_SIZES = (32, 64, 128, 256)
# jaysarva/drifting-model's PyTorch loop over classes, on two cores as in docs/benchmarks.md.
REFERENCE_MS = 34.6


def sphere(features, positives):
    features, positives = kernel.l2_normalize(features), kernel.l2_normalize(positives)
    target = kernel.sphere_target(features, positives, TEMPERATURES)
    return jnp.mean(kernel.regression_loss(features, target))


def distance(features, positives):
    target = kernel.distance_target(features, positives, temperatures=TEMPERATURES)
    return jnp.mean(kernel.regression_loss(features, target))


KERNEL_FORMS = {"sphere": sphere, "distance": distance}


def normal(seed, n, d):
    return jax.random.normal(jax.random.key(seed), (CLASSES.value, n, d))


def milliseconds(form, n, m, d):
    """Median ms of the loss and its gradient with respect to the generated features."""
    features, positives = normal(0, n, d), normal(1, m, d)
    step = jax.jit(jax.value_and_grad(KERNEL_FORMS[form]))
    took = timing.median_ms(lambda: step(features, positives), REPEATS.value)
    timing.say(f"{form}: N {n}, M {m}, D {d}: {took} ms")
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


# --- learned -------------------------------------------------------------------------------------

LEARNED_FORMS = {"factorised": learned.drift, "naive": naive_learned_field.drift}
WIDTHS = {"projected": 256, "unprojected": 0}  # of the representation


def learned_loss(drift, params, x, positives, goal):
    v = drift(params, learned.Sets(x, positives, negatives=x), "masked")
    return jnp.mean(jnp.square(v - goal))


def learned_step(name, n, m, d, width):
    """The compiled step of a form, and its arguments."""
    params = learned.init(jax.random.key(2), d, projection=WIDTHS[width])
    given = params, normal(0, n, d), normal(1, m, d), normal(3, n, d)
    loss = functools.partial(learned_loss, LEARNED_FORMS[name])
    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    return step.lower(*given).compile(), given


def learned_ms(names, n, m, d, width):
    """Median ms of each form. Calls alternate, so that noise affects all forms alike."""
    calls = [functools.partial(c, *a) for c, a in (learned_step(s, n, m, d, width) for s in names)]
    for call in calls:
        timing.seconds(call, repeats=1)
    rounds = [[timing.seconds(c, 1, warm_up=0)[0] for c in calls] for _ in range(REPEATS.value)]
    took = [round(1000 * statistics.median(column), 4) for column in zip(*rounds, strict=True)]
    timing.say(f"learned, {width}: N {n}, M {m}, D {d}: {dict(zip(names, took, strict=True))} ms")
    return dict(zip(names, took, strict=True))


def factorised_ms(n, m):
    return learned_ms(["factorised"], n, m, 256, "projected")["factorised"]


def learned_bytes(name, size):
    """Bytes of the compiled program beyond its arguments, with `size` points per set."""
    compiled, _ = learned_step(name, size, size, 256, "projected")
    plan = compiled.memory_analysis()
    return plan.temp_size_in_bytes + plan.output_size_in_bytes


def with_ratio(figures, ratio):
    """`figures` ({size: {form: figure}}) with the ratio of naive to factorised under `ratio`."""
    return {
        size: {**by_form, ratio: round(by_form["naive"] / by_form["factorised"], 2)}
        for size, by_form in figures.items()
    }


def measure_learned():
    times = {
        width: {d: learned_ms(list(LEARNED_FORMS), 32, 32, d, width) for d in DIMENSIONS}
        for width in WIDTHS
    }
    memory = {
        size: {name: learned_bytes(name, size) for name in LEARNED_FORMS} for size in SET_SIZES
    }
    return {
        **{f"ms_{width}": with_ratio(times[width], "times_faster") for width in WIDTHS},
        "bytes_by_set_size": with_ratio(memory, "times_less"),
        "ms_by_generated": {n: factorised_ms(n, 32) for n in SET_SIZES},
        "ms_by_positives": {m: factorised_ms(32, m) for m in SET_SIZES},
        "ms_by_set_size": {n: factorised_ms(n, n) for n in SET_SIZES},
    }


def main(_):
    result = {
        **timing.machine(),
        "classes": CLASSES.value,
        "temperatures": TEMPERATURES,
        "reference_ms": REFERENCE_MS,
        "forms": {
            form: measure_learned() if form == "learned" else measure(form) for form in FORMS.value
        },
    }
    print(json.dumps(result, indent=2))


flags.register_validator(
    "forms",
    lambda forms: set(forms) <= {*KERNEL_FORMS, "learned"},
    message=f"--forms takes some of {', '.join(KERNEL_FORMS)}, learned",
)

if __name__ == "__main__":
    cli.run(main)

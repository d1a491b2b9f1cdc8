"""Times the training step of a config and prints JSON.

    python scripts/bench_step.py --config configs/mnist.py

Images are random, in the config's shape: their content does not affect speed, and no data set is
needed. The timed program is that of the training loop, with `steps` steps per call.
"""

import json
import resource
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import timing
from absl import flags
from ml_collections import config_flags

from drifting import cli, methods
from drifting.core import config as config_lib
from drifting.runs import build
from drifting.runs import frozen as frozen_lib
from drifting.training import backend, flops
from drifting.training.program import make_program
from input_pipeline import sources
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Pixels

CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment file")
CALLS = flags.DEFINE_integer("calls", 5, "Timed calls", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 1, "Steps per call", lower_bound=1)
CLASSES = flags.DEFINE_integer("classes", 10, "Classes of the random images", lower_bound=1)


def random_images(config, per_class=256):
    """Noise in the space of the config's data."""
    space = space_of(config)
    labels = np.repeat(np.arange(CLASSES.value, dtype=np.int32), per_class)
    generator = np.random.default_rng(0)
    if isinstance(space, Pixels):
        images = generator.integers(0, 256, (len(labels), *space.shape), np.uint8)
    else:
        images = generator.standard_normal((len(labels), *space.shape), np.float32)
    names = tuple(map(str, range(CLASSES.value)))
    return ImageSet(images, labels, names, "random", "train", space)


def space_of(config):
    data = config.data
    return sources.space_of(data.source, data.image_size, data.channels)


def model_flop(config, facts, frozen, data):
    """FLOP of one step without recomputation (micro-batches run the forward pass twice)."""
    config = config.copy_and_resolve_references()
    if "micro_batches" in config.method:
        config.method.micro_batches = 1
    method = methods.create(config, facts, frozen)
    state = jax.eval_shape(method.init, jax.random.key(0))
    return flops.count(method.train_step, state, data, jax.random.key(0), parameters_of(frozen))


def parameters_of(frozen):
    return {name: network.parameters for name, network in frozen.items()}


def compile_step(method, data, key, frozen):
    state = jax.jit(method.init)(key)
    began = time.perf_counter()
    # As in training: a single step is not put in a loop, where convolutions are slow on CPUs.
    program = jax.jit(make_program(method, looped=STEPS.value > 1), donate_argnums=0)
    count = jnp.int32(STEPS.value)
    compiled = program.lower(state, data, key, count, frozen).compile()
    return compiled, state, time.perf_counter() - began


def time_steps(compiled, state, data, key, frozen):
    """Seconds per step, of each call."""
    count = jnp.int32(STEPS.value)
    holder = [state]

    def call():
        holder[0], report = compiled(holder[0], data, key, count, frozen)
        return report

    times = []
    for i in range(CALLS.value + 1):
        (took,) = timing.seconds(call, repeats=1, warm_up=0)
        timing.say(f"call {i} of {CALLS.value}: {took:.2f} s" + (" (warm-up)" if i == 0 else ""))
        times.append(took / STEPS.value)
    return times[1:]


def memory(compiled):
    """Peak bytes: of the device if it counts them, of the compiled program, of the process."""
    stats = jax.devices()[0].memory_stats() or {}
    plan = compiled.memory_analysis()
    program = plan.temp_size_in_bytes + plan.argument_size_in_bytes + plan.output_size_in_bytes
    return {
        "device_peak_bytes": stats.get("peak_bytes_in_use"),
        "program_bytes": program - plan.alias_size_in_bytes,
        "process_peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def main(_):
    config = config_lib.resolve(CONFIG.value)
    backend.configure(config.deterministic)
    jax.config.update("jax_enable_compilation_cache", False)  # compilation is measured here
    timing.say(f"{timing.machine()}")
    images, key = random_images(config), jax.random.key(0)
    facts, data = build.facts_of(images), images.to_device()
    frozen = frozen_lib.load(config, facts.space.shape)
    method = methods.create(config, facts, frozen)
    compiled, state, compile_seconds = compile_step(method, data, key, parameters_of(frozen))
    timing.say(f"compiled in {compile_seconds:.1f} s")
    peak = timing.matmul_rate(config.precision)
    times = time_steps(compiled, state, data, key, parameters_of(frozen))
    step = statistics.median(times)
    flop = model_flop(config, facts, frozen, data)
    result = {
        "config": flags.FLAGS["config"].config_filename,
        **timing.machine(),
        "precision": config.precision,
        "images_per_step": method.batch_size,
        "compile_seconds": round(compile_seconds, 2),
        "steps_per_call": STEPS.value,
        "step_ms": round(1000 * step, 3),
        "step_ms_min": round(1000 * min(times), 3),
        "step_ms_max": round(1000 * max(times), 3),
        "images_per_second": round(method.images_per_step / step, 1),
        "model_flop_per_step": flop,
        "flop_per_second": flop / step,
        "matmul": peak,
        "ratio_to_matmul": round(flop / step / peak["flop_per_second"], 4),
        **memory(compiled),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main)

"""Times the training step of a config and prints JSON.

    python scripts/bench_step.py --config configs/mnist.py
    python scripts/bench_step.py --config configs/cut_monet.py --config.method.batch_size=1 \\
        --classes 2 --compare_torch

Images are random, in the config's shape: their content does not affect speed, and no data set is
needed. The timed program is that of the training loop, with `steps` steps per call.

With --compare_torch, the step of the CUT release in plain PyTorch (scripts/reference_torch/cut.py)
runs in turns with ours, for batches, images and networks of the same sizes.
"""

import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import timing
from absl import flags
from ml_collections import config_flags

from drifting import cli, methods
from drifting.core import config as config_lib
from drifting.core.errors import UserError
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
COMPARE = flags.DEFINE_bool(
    "compare_torch", False, "Also time the step of the CUT release in PyTorch, on the CPU"
)

# The networks of the release, whose step --compare_torch times.
RELEASE = {
    ("model", "blocks"): 9,
    ("model", "resampling"): "antialias",
    ("discriminator", "layers"): 3,
    ("discriminator", "resampling"): "antialias",
    ("discriminator", "scales"): 1,
}


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


def caller(compiled, state, data, key, frozen):
    """A function that runs the next call."""
    count = jnp.int32(STEPS.value)
    holder = [state]

    def call():
        holder[0], report = compiled(holder[0], data, key, count, frozen)
        return report

    return call


def time_steps(calls: dict[str, tuple[Callable, int]]) -> dict[str, list[float]]:
    """Seconds per step of each round, in which the calls take turns, by name.

    Args:
      calls: what to call, and how many steps that makes.
    """
    times = {name: [] for name in calls}
    for i in range(CALLS.value + 1):
        for name, (call, steps) in calls.items():
            (took,) = timing.seconds(call, repeats=1, warm_up=0)
            warm_up = " (warm-up)" if i == 0 else ""
            timing.say(f"{name}, call {i} of {CALLS.value}: {took:.2f} s{warm_up}")
            times[name].append(took / steps)
    return {name: found[1:] for name, found in times.items()}


def release_step(config: Any, shape: tuple[int, int, int]) -> tuple[Callable, dict[str, Any]]:
    """The step of the CUT release on noise of the config's sizes, and what it is.

    Raises:
      UserError: for another method, other networks than the release's, or without PyTorch.
    """
    if config.method.name != "cut":
        raise UserError("--compare_torch: there is only the step of method 'cut'; leave it out")
    for (section, key), value in RELEASE.items():
        if config[section][key] != value:
            raise UserError(
                f"--compare_torch: config.{section}.{key} = {config[section][key]!r}, but the "
                f"release has {value!r}; set that"
            )
    try:
        import torch
    except ImportError:
        raise UserError("PyTorch is not installed: pip install -e '.[torch]'") from None
    from reference_torch import cut

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    height, width, channels = shape
    trainer = cut.Trainer(channels, config.model.width, config.discriminator.width)
    noise = torch.rand(2, config.method.batch_size, channels, height, width) * 2 - 1
    about = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "objective": "lsgan; PatchNCE of both domains (nce_idt)",  # the release's default
    }
    return lambda: trainer.step(*noise), about


def summary(times: list[float]) -> dict[str, float]:
    """Milliseconds per step."""
    kinds = {"": statistics.median, "_min": min, "_max": max}
    return {f"step_ms{kind}": round(1000 * of(times), 3) for kind, of in kinds.items()}


def objective_of(settings: Any) -> str:
    """What a step of CUT computes, as far as its time depends on it."""
    domains = "both domains (nce_idt)" if settings.nce_idt else "the source domain"
    terms = [settings.loss, f"PatchNCE of {domains}"]
    terms += ["L1 of the identity"] if settings.identity_weight else []
    terms += [f"R1 every {settings.r1_every} steps"] if settings.r1_gamma else []
    return "; ".join(terms)


def compared(
    config: Any, about: dict[str, Any], times: list[float], others: list[float]
) -> dict[str, Any]:
    """The report on PyTorch's step (`others`) next to ours (`times`)."""
    return {
        "objective": objective_of(config.method),
        "release": {**about, **summary(others)},
        "release_to_ours": round(statistics.median(others) / statistics.median(times), 3),
    }


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
    backend.configure(config.deterministic, methods.find(config.method.name).large_maps)
    jax.config.update("jax_enable_compilation_cache", False)  # compilation is measured here
    timing.say(f"{timing.machine()}")
    release = release_step(config, space_of(config).shape) if COMPARE.value else None
    images, key = random_images(config), jax.random.key(0)
    facts, data = build.facts_of(images), images.to_device()
    frozen = frozen_lib.load(config, facts.space.shape)
    method = methods.create(config, facts, frozen)
    compiled, state, compile_seconds = compile_step(method, data, key, parameters_of(frozen))
    timing.say(f"compiled in {compile_seconds:.1f} s")
    peak = timing.matmul_rate(config.precision)
    calls = {"ours": (caller(compiled, state, data, key, parameters_of(frozen)), STEPS.value)}
    calls |= {"release": (release[0], 1)} if release else {}
    found = time_steps(calls)
    times, step = found["ours"], statistics.median(found["ours"])
    flop = model_flop(config, facts, frozen, data)
    result = {
        "config": flags.FLAGS["config"].config_filename,
        **timing.machine(),
        "precision": config.precision,
        "images_per_step": method.batch_size,
        "compile_seconds": round(compile_seconds, 2),
        "steps_per_call": STEPS.value,
        **summary(times),
        "images_per_second": round(method.images_per_step / step, 1),
        "model_flop_per_step": flop,
        "flop_per_second": flop / step,
        "matmul": peak,
        "ratio_to_matmul": round(flop / step / peak["flop_per_second"], 4),
        **memory(compiled),
    }
    if release:
        result |= compared(config, release[1], times, found["release"])
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main)

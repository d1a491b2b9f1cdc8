"""Compiles a config's train step for several devices without running it, and prints JSON.

    python scripts/compile_step.py --config configs/drifting_imagenet_latent.py:b --devices 8 \
        --classes 1000 --encoder configs/mae_imagenet_latent.py:256

Neither the data nor the devices need to exist: everything is made of shapes, and the devices are
virtual ones of the CPU. What is printed is XLA's own plan for one of them:

    parameters    of each network, and of the encoder
    memory        bytes: of the state, the encoder and the batch (`arguments`), and in between
                  (`temporary`); the CPU's compiler plans other fusions than a GPU's
    communicated  per step: operations of each kind, and bytes of their results
"""

import collections
import json
import math
import re

import jax
import jax.numpy as jnp
import timing
from absl import flags
from ml_collections import config_flags

from drifting import cli, methods
from drifting.core import config as config_lib
from drifting.core.facts import DataFacts
from drifting.core.networks import Encoder
from drifting.training import mesh as mesh_lib
from drifting.training.program import make_program
from input_pipeline import sources
from input_pipeline.streaming import Batch

CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment file of streamed data")
ENCODER = config_flags.DEFINE_config_file("encoder", None, "Experiment file of its encoder, if any")
DEVICES = flags.DEFINE_integer("devices", 8, "Number of devices", lower_bound=1)
CLASSES = flags.DEFINE_integer("classes", 10, "Classes of the data", lower_bound=1)

SAMPLES = 1_281_167  # of ImageNet; only durations in epochs depend on it
COLLECTIVES = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s64": 8, "u64": 8, "f64": 8}  # else 4


def facts_of(config):
    data = config.data
    space = sources.space_of(data.source, data.image_size, data.channels)
    zeros, ones = (0.0,) * space.shape[-1], (1.0,) * space.shape[-1]
    names = tuple(map(str, range(CLASSES.value)))
    return DataFacts(space, names, None, SAMPLES, zeros, ones, data.source, True)


def encoder_of(config):
    """The untrained encoder of a config, of shapes alone."""
    method = methods.create(config, facts_of(config))
    state = jax.eval_shape(method.init, jax.random.key(0))
    parameters = jax.eval_shape(method.encoder, state)
    return Encoder("encoder", method.space.shape, parameters, method.encode, "untrained")


def compiled_step(config, method, frozen):
    """The compiled step, and the shapes of its state."""
    mesh = mesh_lib.mesh_of(config, method)
    everywhere, key = mesh_lib.replicated(mesh), jax.eval_shape(lambda: jax.random.key(0))

    def placed(tree, where):
        shapes = (jax.tree.leaves(tree), jax.tree.leaves(where))
        leaves = [
            jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s) for x, s in zip(*shapes, strict=True)
        ]
        return jax.tree.unflatten(jax.tree.structure(tree), leaves)

    def replicated(tree):
        return placed(tree, jax.tree.map(lambda _: everywhere, tree))

    state = jax.eval_shape(method.init, key)
    shardings = mesh_lib.state_shardings(mesh, state)
    rows, space = method.stream_batch, method.space
    spread = mesh_lib.batch_over(mesh, rows)
    batch = Batch(
        jax.ShapeDtypeStruct((rows, *space.shape), space.dtype, sharding=spread),
        jax.ShapeDtypeStruct((rows,), jnp.int32, sharding=spread),
        space,
    )
    count = replicated(jax.ShapeDtypeStruct((), jnp.int32))
    with jax.set_mesh(mesh):
        timing.say(f"compiling for {mesh.size} devices: some minutes for a large network")
        program = jax.jit(
            make_program(method, looped=False),
            donate_argnums=0,
            out_shardings=(shardings, everywhere),
        )
        lowered = program.lower(
            placed(state, shardings), batch, replicated(key), count, replicated(frozen)
        )
        # Machine code is not run, so it is made as cheaply as possible; plans do not depend on it.
        return lowered.compile({"xla_backend_optimization_level": 0}), state


def communicated(text):
    """Operations and bytes of the results, by kind, in the text of a compiled program.

    The body of a loop counts once.
    """
    found = collections.defaultdict(lambda: {"operations": 0, "bytes": 0})
    for result, kind in re.findall(rf"= (.*?) ({COLLECTIVES})(?:-start)?\(", text):
        found[kind]["operations"] += 1
        for dtype, shape in re.findall(r"(\w+)\[([\d,]*)\]", result):
            size = math.prod(int(n) for n in shape.split(",") if n)
            found[kind]["bytes"] += size * BYTES.get(dtype, 4)
    return dict(found)


def main(_):
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", DEVICES.value)
    config = config_lib.resolve(CONFIG.value)
    frozen, facts = {}, facts_of(config)
    if ENCODER.value is not None:
        frozen["encoder"] = encoder_of(config_lib.resolve(ENCODER.value))
    method = methods.create(config, facts, frozen)
    parameters = {name: network.parameters for name, network in frozen.items()}
    compiled, state = compiled_step(config, method, parameters)
    plan = compiled.memory_analysis()
    sizes = {
        name: sum(leaf.size for leaf in jax.tree.leaves(tree))
        for name, tree in (state.params | parameters).items()
    }
    result = {
        "config": flags.FLAGS["config"].config_filename,
        "devices": {"data": DEVICES.value // config.mesh.fsdp, "fsdp": config.mesh.fsdp},
        "images_per_step": method.batch_size,
        "parameters": sizes,
        "memory": {
            "arguments": plan.argument_size_in_bytes,
            "temporary": plan.temp_size_in_bytes,
        },
        "communicated": communicated(compiled.as_text()),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main)

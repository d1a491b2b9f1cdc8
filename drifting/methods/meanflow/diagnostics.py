"""Numbers that say how a run goes, and cost too much for every step."""

import jax
import jax.numpy as jnp

from drifting.core.method import FlowGenerator
from drifting.core.state import TrainState
from drifting.fields.objectives import energy_distance
from input_pipeline.data import Data

REFERENCE_STEPS = 32  # of the solution that a single step is compared with


def measure(
    method: FlowGenerator, state: TrainState, key: jax.Array, data: Data
) -> dict[str, jax.Array]:
    """Of `method.settings.num_diagnosed` samples.

    `energy_distance` of samples to data (of points or pixels, with the pairs of a point with
    itself), and `energy_distance_real` of two draws of data of the same size, about its floor:
    samples are of the very labels of the data that they are compared with. Where
    mean velocities are learned `one_step_error`: the root mean square difference of a single
    step and the run's own solution in 32 steps, over that of the solution from the noise. It
    is 0 before training: a network of zeros agrees with itself.
    """
    keys = jax.random.split(key, 2)
    n = min(method.settings.num_diagnosed, data.num_rows // 2)
    real, labels = data.draw(keys[0], 2 * n)
    z = jax.random.normal(keys[1], (n, *method.space.shape))
    labels = labels[:n]
    samples, _ = method.trajectory(state, z, labels)
    found = {
        "energy_distance": _energy_distance(samples, real[:n]),
        "energy_distance_real": _energy_distance(real[n:], real[:n]),
    }
    if method.settings.curved:
        one, many = (
            method.with_sampler("meanflow", steps).trajectory(state, z, labels)[0]
            for steps in (1, REFERENCE_STEPS)
        )
        found["one_step_error"] = _rms(one - many) / jnp.maximum(_rms(many - z), 1e-12)
    return found


def _energy_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    flat = (a.reshape(1, len(a), -1) for a in (x, y))
    return energy_distance(*flat, own_pairs=True)[0]


def _rms(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(x)))

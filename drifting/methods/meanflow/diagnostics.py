"""Measures of a run's progress that are too expensive for every step."""

import jax
import jax.numpy as jnp

from drifting.core.method import FlowGenerator
from drifting.core.state import TrainState
from drifting.fields.objectives import energy_distance
from drifting.methods.batches import augmented
from input_pipeline.data import Data

REFERENCE_STEPS = 32  # of the solution to which a single step is compared


def measure(
    method: FlowGenerator, state: TrainState, key: jax.Array, data: Data
) -> dict[str, jax.Array]:
    """Measures `method.settings.num_diagnosed` samples.

    Returns:
      `energy_distance`: of samples to data with the same labels (on points or pixels, V statistic),
        mirrored at random as in training.
      `energy_distance_real`: the same of two equally large draws of data, approximately its floor.
      `one_step_error`, if mean velocities are learned: RMS(one - many) / RMS(many - noise) of
        solutions in one step and in 32. It is 0 for an untrained network, whose output is 0.
    """
    keys = jax.random.split(key, 3)
    n = min(method.settings.num_diagnosed, data.num_rows // 2)
    real, labels = data.draw(keys[0], 2 * n)
    real = augmented(keys[2], real, crop_padding=0, flip=method.flip)
    z = jax.random.normal(keys[1], (n, *method.space.shape))
    labels = labels[:n]
    samples, _ = method.trajectory(state, z, labels)
    found = {
        "energy_distance": _energy_distance(samples, real[:n]),
        "energy_distance_real": _energy_distance(real[n:], real[:n]),
    }
    if method.settings.rows_r_neq_t:
        one, many = (
            method.with_sampler("meanflow", steps).trajectory(state, z, labels)[0]
            for steps in (1, REFERENCE_STEPS)
        )
        found["one_step_error"] = _rms(one - many) / jnp.maximum(_rms(many - z), 1e-12)
    return found


def _energy_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    flat = (a.reshape(1, len(a), -1) for a in (x, y))  # [1, N, D]
    return energy_distance(*flat, own_pairs=True)[0]


def _rms(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(x)))

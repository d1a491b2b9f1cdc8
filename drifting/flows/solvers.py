"""Ways to follow a velocity field with any number of steps, and what they cost.

N steps are N: they end at the last time exactly, and each evaluates the *instantaneous* velocity.
(A system that this one is compared with took N + 1 steps of 1 / N, and asked its network for the
mean velocity over [t, 1] instead.) NFE counts evaluations of the field.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Field = Callable[[jax.Array, jax.Array], jax.Array]  # (z [B, ...], t scalar) -> dz/dt [B, ...]


def euler(f: Field, z: jax.Array, t: jax.Array, dt: jax.Array) -> jax.Array:
    """Order 1, one evaluation."""
    return z + dt * f(z, t)


def heun(f: Field, z: jax.Array, t: jax.Array, dt: jax.Array) -> jax.Array:
    """Order 2, the explicit trapezoid rule, two evaluations."""
    first = f(z, t)
    return z + 0.5 * dt * (first + f(z + dt * first, t + dt))


def rk4(f: Field, z: jax.Array, t: jax.Array, dt: jax.Array) -> jax.Array:
    """Order 4, the classical Runge-Kutta step, four evaluations."""
    k1 = f(z, t)
    k2 = f(z + 0.5 * dt * k1, t + 0.5 * dt)
    k3 = f(z + 0.5 * dt * k2, t + 0.5 * dt)
    k4 = f(z + dt * k3, t + dt)
    return z + dt / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)


SOLVERS = {"euler": (euler, 1), "heun": (heun, 2), "rk4": (rk4, 4)}  # step, evaluations of a step


def solve(
    name: str,
    f: Field,
    z: jax.Array,
    steps: int,
    start: float = 1.0,
    end: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Follows dz/dt = f(z, t) from `start` to `end` in equal steps of a solver of SOLVERS.

    Returns:
      z at the end [B, ...], and the states on the way, [steps + 1, B, ...], the first being z
      itself. What a jitted caller does not use is not kept.

    Raises:
      ValueError: an unknown solver, or fewer than one step.
    """
    if name not in SOLVERS:
        raise ValueError(f"unknown solver {name!r}; known are {', '.join(SOLVERS)}")
    step, _ = SOLVERS[name]
    return follow(lambda z, t, s: step(f, z, t, s - t), z, steps, start, end)


def follow(
    advance: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    z: jax.Array,
    steps: int,
    start: float = 1.0,
    end: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """As `solve`, with any way to `advance` z from time t to time s: (z, t, s) -> z."""
    if steps < 1:
        raise ValueError(f"{steps} steps lead nowhere: ask for one or more")
    # From exact ends, not from sums of a rounded step.
    times = jnp.linspace(start, end, steps + 1, dtype=z.dtype)

    def one(z, interval):
        z = advance(z, *interval)
        return z, z

    last, way = jax.lax.scan(one, z, (times[:-1], times[1:]))
    return last, jnp.concatenate([z[None], way])


def evaluations(name: str, steps: int) -> int:
    """NFE of `steps` steps of a solver; a MeanFlow step is one evaluation."""
    return steps * (1 if name == "meanflow" else SOLVERS[name][1])

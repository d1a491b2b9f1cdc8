"""Solvers that follow a velocity field in a given number of steps, and their cost.

N steps end exactly at the last time, and each evaluates the *instantaneous* velocity. (A system
that this one is compared with takes N + 1 steps of 1 / N and evaluates the mean velocity over
[t, 1] instead.) NFE counts evaluations of the field.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Field = Callable[[jax.Array, jax.Array], jax.Array]  # (z [B, ...], t scalar) -> dz/dt [B, ...]


def euler(f: Field, z: jax.Array, t: jax.Array, dt: jax.Array) -> jax.Array:
    """z + dt f(z, t): order 1, one evaluation."""
    return z + dt * f(z, t)


def heun(f: Field, z: jax.Array, t: jax.Array, dt: jax.Array) -> jax.Array:
    """The explicit trapezoidal rule: order 2, two evaluations."""
    first = f(z, t)
    return z + 0.5 * dt * (first + f(z + dt * first, t + dt))


def rk4(f: Field, z: jax.Array, t: jax.Array, dt: jax.Array) -> jax.Array:
    """The classical Runge-Kutta step: order 4, four evaluations."""
    k1 = f(z, t)
    k2 = f(z + 0.5 * dt * k1, t + 0.5 * dt)
    k3 = f(z + 0.5 * dt * k2, t + 0.5 * dt)
    k4 = f(z + dt * k3, t + dt)
    return z + dt / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)


SOLVERS = {"euler": (euler, 1), "heun": (heun, 2), "rk4": (rk4, 4)}  # step, evaluations per step


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
      z at the end [B, ...], and all states on the way, [steps + 1, B, ...], the first of which is z
      itself. A jitted caller that does not use the latter does not keep them in memory.

    Raises:
      ValueError: the solver is unknown, or there is fewer than one step.
    """
    if name not in SOLVERS:
        raise ValueError(f"unknown solver {name!r}; use one of {', '.join(SOLVERS)}")
    step, _ = SOLVERS[name]
    return follow(lambda z, t, s: step(f, z, t, s - t), z, steps, start, end)


def follow(
    advance: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    z: jax.Array,
    steps: int,
    start: float = 1.0,
    end: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """As `solve`, with any function `advance`, (z, t, s) -> z, from time t to the next time s."""
    if steps < 1:
        raise ValueError(f"cannot sample in {steps} steps: ask for one or more")
    # Between exact ends; sums of a rounded step would miss the last one.
    times = jnp.linspace(start, end, steps + 1, dtype=z.dtype)

    def one(z, interval):
        z = advance(z, *interval)
        return z, z

    last, way = jax.lax.scan(one, z, (times[:-1], times[1:]))
    return last, jnp.concatenate([z[None], way])  # [B, ...] and [steps + 1, B, ...]


def evaluations(name: str, steps: int) -> int:
    """NFE of `steps` steps of a solver; a MeanFlow step is one evaluation."""
    return steps * (1 if name == "meanflow" else SOLVERS[name][1])

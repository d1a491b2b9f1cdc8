"""Shared by the benchmarks: progress messages, wall times of device calls, the matrix rate."""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp


def say(text: str) -> None:
    """Prints progress to stderr; stdout is for the JSON report."""
    print(text, file=sys.stderr, flush=True)


def seconds(call: Callable, repeats: int, warm_up: int = 1) -> list[float]:
    """The wall seconds of each of `repeats` calls, including the wait for their results."""
    for _ in range(warm_up):
        jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - began)
    return times


def median_ms(call: Callable, repeats: int, warm_up: int = 3) -> float:
    return round(1000 * statistics.median(seconds(call, repeats, warm_up)), 4)


def matmul_rate(dtype: str, size: int = 0) -> dict[str, float | int]:
    """The best FLOP/s of a square matrix product at default precision."""
    size = size or (2048 if jax.default_backend() == "cpu" else 8192)
    x = jax.random.normal(jax.random.key(0), (size, size), jnp.dtype(dtype))
    multiply = jax.jit(lambda a: a @ a)
    best = min(seconds(lambda: multiply(x), repeats=7, warm_up=2))
    return {"size": size, "flop_per_second": 2 * size**3 / best}


def machine() -> dict[str, str | int]:
    """The machine on which a figure was measured."""
    device = jax.devices()[0]
    return {
        "device_kind": device.device_kind,
        "device_count": jax.device_count(),
        "cpu_cores": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "jax": jax.__version__,
    }

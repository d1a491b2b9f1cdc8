"""The compiled programs of a run: many train steps per call, and the pictures in between."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from drifting.core.method import Grid, Method, Scatter
from drifting.training import flops
from input_pipeline import pixels

log = logging.getLogger(__name__)


def make_program(
    method: Method, looped: bool = True, per_call: int = 1, plotted: Sequence[str] = ()
) -> Callable:
    """The jittable program (state, data, key, count, frozen) -> (state, report) of `count` steps.

    `count` is traced, so one compilation serves calls of every length. The report holds the sums
    and last values of the metrics, the first step (from 1) in which one of the method's `terms` is
    not finite, or 0, and the metrics of that step. If not `looped`, the program is a single step,
    and `count` must be 1.

    The report also holds the values of each of the `plotted` metrics, [per_call]: first those of
    the steps of the call.
    """

    def program(state, data, key, count, frozen):
        def step_key(state):
            return jax.random.fold_in(key, state.step)

        def body(i, carry):
            state, report = carry
            state, metrics = method.train_step(state, data, step_key(state), frozen)
            sound = report["bad_step"] == 0  # until now
            terms = [metrics[name] for name in method.terms if name in metrics]
            finite = jnp.all(jnp.isfinite(jnp.stack(terms)))
            bad_step = jnp.where(sound & ~finite, state.step, report["bad_step"])
            bad = jax.tree.map(lambda new, old: jnp.where(sound, new, old), metrics, report["bad"])
            sums = jax.tree.map(jnp.add, report["sum"], metrics)
            each = {
                name: jax.lax.dynamic_update_index_in_dim(values, metrics[name], i, 0)
                for name, values in report["each"].items()
            }
            found = {"sum": sums, "last": metrics, "each": each}
            return state, found | {"bad_step": bad_step, "bad": bad}

        shapes = jax.eval_shape(lambda s: method.train_step(s, data, step_key(s), frozen)[1], state)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        each = {name: jnp.zeros((per_call,), shapes[name].dtype) for name in plotted}
        bad_step = jnp.zeros((), jnp.int32)
        report = {"sum": zeros, "last": zeros, "each": each, "bad_step": bad_step, "bad": zeros}
        if not looped:
            return body(0, (state, report))
        return jax.lax.fori_loop(0, count, body, (state, report))

    return program


def compile_steps(
    method: Method,
    arguments: tuple,
    out_shardings: tuple,
    looped: bool,
    per_call: int,
    plotted: Sequence[str],
) -> tuple[Callable, bool]:
    """`make_program`, compiled ahead of time so that nothing can recompile in the loop.

    Args:
      arguments: with the shapes and shardings of every call; the first, the state, is donated.
      out_shardings: of the state and of the report.
      looped: whether a call may run many steps.
      per_call: how many at most.
      plotted: see `make_program`.

    Returns:
      The program, and whether its calls may indeed run many steps.
    """
    began = time.perf_counter()
    program = make_program(method, looped, per_call if looped else 1, plotted)
    traced = _trace(program, arguments, out_shardings)
    if looped and jax.default_backend() == "cpu" and flops.convolves(traced.jaxpr.jaxpr):
        # Inside a loop, XLA's CPU backend computes the gradients of convolutions by a path that is
        # ten times slower (github.com/jax-ml/jax/issues/12868).
        looped = False
        program = make_program(method, looped, 1, plotted)
        traced = _trace(program, arguments, out_shardings)
    compiled = traced.lower().compile()
    log.info("compiled the train step in %.1f s", time.perf_counter() - began)
    return compiled, looped


def _trace(program: Callable, arguments: tuple, out_shardings: tuple) -> Any:
    return jax.jit(program, donate_argnums=0, out_shardings=out_shardings).trace(*arguments)


def make_summary(method: Method) -> Callable:
    """The jitted (state, key, data, frozen) -> (pictures, numbers), by name; images as uint8."""

    def summarize(state, key, data, frozen):
        shown = method.summaries(state, key, data, frozen)
        shown = {name: _as_shown(picture) for name, picture in shown.items()}
        return shown, method.diagnostics(state, key, data)

    return jax.jit(summarize)


def _as_shown(shown: Grid | Scatter) -> Grid | Scatter:
    """Images as uint8, points as they are."""
    return Grid(pixels.to_uint8(shown.images)) if isinstance(shown, Grid) else shown

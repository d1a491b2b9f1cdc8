"""A run that diverged: whether a state is still sound, and what the user is told."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from drifting.core.errors import UserError
from drifting.core.state import TrainState

# Weights beyond it are lost: their squares are infinite in float32.
LARGEST_WEIGHT = float(np.sqrt(np.finfo(np.float32).max))


class TrainingDiverged(UserError):
    """The loss, the gradient or the state is NaN, infinite or nearly so."""


def find_unsound(state: TrainState) -> str | None:
    """The first leaf with a value that is not finite, or a weight that is too large; or None.

    The metrics of a step cannot tell: its loss is that of the weights before its update.
    """
    sound = jax.device_get(_sound(state))
    leaves = jax.tree_util.tree_leaves_with_path(state)
    names = (jax.tree_util.keystr(path) for path, _ in leaves)
    return next((name for name, good in zip(names, sound, strict=True) if not good), None)


@jax.jit
def _sound(state: TrainState) -> jax.Array:
    """bool [leaves of the state]."""

    def check(leaf: jax.Array, limit: float) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return jnp.bool_(True)
        return jnp.all(jnp.abs(leaf) < limit)  # not so for NaN

    limits = dict.fromkeys(("params", "ema_params"), LARGEST_WEIGHT)
    return jnp.stack([
        check(leaf, limits.get(field.name, jnp.inf))
        for field in dataclasses.fields(state)
        for leaf in jax.tree.leaves(getattr(state, field.name))
    ])  # fmt: skip


def at_step(step: int, metrics: Mapping[str, np.ndarray], terms: Sequence[str]) -> str:
    """What the user is told of a step in which one of the `terms` is not finite.

    Args:
      metrics: of that step.
      terms: in the order in which a step computes them: what follows the first one that is not
        finite may be so because of it.
    """
    first = next(name for name in terms if not np.isfinite(metrics.get(name, 0.0)))
    shown = ", ".join(f"{name} {float(value):.4g}" for name, value in metrics.items())
    return f"{first} is not finite at step {step} (its metrics: {shown})"


def diverged(
    what: str, folder: pathlib.Path, steps: Sequence[int], resumed: int | None
) -> TrainingDiverged:
    """The error that says what happened and which checkpoint is good.

    Args:
      folder: that of the checkpoints.
      steps: of the finished checkpoints, in order.
      resumed: the step that the run resumed at, if it did. A checkpoint that led to this before
        another could be saved may be a part of the divergence.
    """
    lower = "Lower config.optimizer.learning_rate or config.optimizer.clip_norm and run again"
    if not steps:
        return TrainingDiverged(f"{what}; there is no checkpoint yet. {lower}")
    newest = folder / str(steps[-1])
    if resumed != steps[-1]:
        good = f"the last good checkpoint is {newest}"
        return TrainingDiverged(f"{what}; {good}. {lower}: it resumes from there")
    doubt = f"the run had resumed from {newest}, which may be bad already"
    if len(steps) == 1:
        return TrainingDiverged(
            f"{what}; {doubt}, and there is none before it. {lower}, or train in another --workdir"
        )
    return TrainingDiverged(
        f"{what}; {doubt}; the checkpoint before is {folder / str(steps[-2])}. Remove the former "
        f"to resume from the latter. {lower}"
    )

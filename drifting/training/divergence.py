"""A run that diverged: whether a state is still sound, and what the user is told."""

import dataclasses
import pathlib
from collections.abc import Sequence

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
    lower = "ower config.optimizer.learning_rate or config.optimizer.clip_norm and run again"
    if not steps:
        return TrainingDiverged(f"{what}; there is no checkpoint yet. L{lower}")
    newest, before = steps[-1], steps[:-1]
    if resumed != newest or not before:
        good = f"the last good checkpoint is {folder / str(newest)}"
        return TrainingDiverged(f"{what}; {good}. L{lower}: it resumes from there")
    return TrainingDiverged(
        f"{what}; the run had resumed from {folder / str(newest)}, which may be bad already; the "
        f"checkpoint before is {folder / str(before[-1])}. Remove the former to resume from the "
        f"latter, l{lower}"
    )

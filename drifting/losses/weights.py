"""Weights of loss terms that change during training."""

import jax
import jax.numpy as jnp


def warm_down(step: jax.Array, first: float, last_step: int) -> jax.Array:
    """A line from `first` at step 0 to exactly 0 at `last_step`, and 0 from there on; a scalar.

    Raises:
      ValueError: last_step is below 1.
    """
    if last_step < 1:
        raise ValueError(f"last_step = {last_step} is below 1, so the weight has no way to fall")
    left = jnp.clip(1.0 - jnp.asarray(step, jnp.float32) / last_step, 0.0, 1.0)
    return first * left

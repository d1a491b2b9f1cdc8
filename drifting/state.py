"""The ground that methods and training share: TrainState, EMA, optimisers, batch sharding."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

PyTree = Any


@flax.struct.dataclass
class TrainState:
    """Everything a run needs to go on, as one pytree.

    Attributes:
      step: int32 scalar, the number of optimiser steps taken.
      params, ema_params: a dict keyed by network (`generator`, `field`, ...).
      opt_state: a dict keyed by network.
      extra: what else a method carries (sample queue, batch statistics).
    """

    step: jax.Array
    params: PyTree
    ema_params: PyTree
    opt_state: PyTree
    extra: PyTree

    @classmethod
    def create(cls, params: PyTree, optimizers: dict, extra: PyTree | None = None) -> "TrainState":
        """A state at step 0 whose averages are the parameters themselves."""
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            # A copy: donated buffers must not be shared between two leaves.
            ema_params=jax.tree.map(jnp.array, params),
            opt_state={name: optimizers[name].init(params[name]) for name in params},
            extra={} if extra is None else extra,
        )


def warmup_schedule(learning_rate: float, warmup_steps: int) -> optax.Schedule:
    """Linear warm-up: step k (from 0) has learning_rate * min(1, (k + 1) / warmup_steps).

    The first step is neither at 0 nor, as in some references, at the full rate.
    """

    def schedule(step: jax.Array) -> jax.Array:
        ramp = (jnp.asarray(step, jnp.float32) + 1.0) / max(warmup_steps, 1)
        return learning_rate * jnp.minimum(1.0, ramp)

    return schedule


def adamw(
    learning_rate: float,
    warmup_steps: int,
    beta1: float,
    beta2: float,
    weight_decay: float,
    clip_norm: float,
) -> optax.GradientTransformation:
    """AdamW with linear warm-up; gradients are first clipped to a global norm (0: not clipped)."""
    clip = optax.clip_by_global_norm(clip_norm) if clip_norm > 0 else optax.identity()
    schedule = warmup_schedule(learning_rate, warmup_steps)
    return optax.chain(
        clip, optax.adamw(schedule, b1=beta1, b2=beta2, weight_decay=weight_decay)
    )


def apply_gradients(
    state: TrainState, grads: PyTree, optimizers: dict, ema_decay: float, extra: PyTree
) -> TrainState:
    """One optimiser step of every network in `grads`, then the average of all parameters."""
    params, opt_state = dict(state.params), dict(state.opt_state)
    for name, grad in grads.items():
        updates, opt_state[name] = optimizers[name].update(
            grad, state.opt_state[name], state.params[name]
        )
        params[name] = optax.apply_updates(state.params[name], updates)
    return state.replace(
        step=state.step + 1,
        params=params,
        ema_params=ema_update(state.ema_params, params, ema_decay),
        opt_state=opt_state,
        extra=extra,
    )


def ema_update(average: PyTree, params: PyTree, decay: float) -> PyTree:
    """decay * average + (1 - decay) * params, in the average's own float32."""
    return jax.tree.map(lambda a, p: a + (1.0 - decay) * (p - a), average, params)


def shard_batch(x: jax.Array) -> jax.Array:
    """Spreads the first axis of x over the mesh's axes; as it is where there is no mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, jax.sharding.PartitionSpec(mesh.axis_names))

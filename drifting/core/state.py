"""The ground that methods and training share: TrainState, EMA, optimisers, batch sharding."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from drifting.core.errors import ConfigError, one_of

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


def with_network(state: TrainState, name: str, other: TrainState) -> TrainState:
    """`state` with the network `name` of another state: parameters, average, optimiser state."""
    return state.replace(
        **{
            part: {**getattr(state, part), name: getattr(other, part)[name]}
            for part in ("params", "ema_params", "opt_state")
        }
    )


def learning_rates(
    optimizer: Any, total_steps: int, section: str = "optimizer"
) -> optax.Schedule:
    """The learning rate at each step (from 0) of a config.optimizer, or of another section.

    Step k of a linear warm-up over W steps has learning_rate * (k + 1) / W: the first step is
    neither at 0 nor, as in some references, at the full rate. `constant` stays at learning_rate.
    `cosine` falls from learning_rate at step W by half a cosine (Loshchilov and Hutter,
    arXiv:1608.03983) to exactly 0 at step total_steps, which is the first one not taken.

    Raises:
      ConfigError: an unknown schedule, or a warm-up that takes the whole run.
    """
    peak, warmup = optimizer.learning_rate, optimizer.warmup_steps
    one_of(f"{section}.schedule", optimizer.schedule, ("constant", "cosine"))
    cosine = optimizer.schedule == "cosine"
    if cosine and warmup >= total_steps:
        raise ConfigError(
            f"config.{section}.warmup_steps = {warmup} leaves nothing of the {total_steps} steps "
            "for the cosine"
        )

    def schedule(step: jax.Array) -> jax.Array:
        step = jnp.asarray(step, jnp.float32)
        rate = peak * jnp.minimum(1.0, (step + 1.0) / max(warmup, 1))
        if not cosine:
            return rate
        done = jnp.clip((step - warmup) / (total_steps - warmup), 0.0, 1.0)
        return jnp.where(step < warmup, rate, 0.5 * peak * (1.0 + jnp.cos(jnp.pi * done)))

    return schedule


def make_optimizer(
    optimizer: Any, total_steps: int, section: str = "optimizer"
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimiser of a config.optimizer (configs/base.py says what its keys mean), and its rate.

    Gradients are first clipped to the global norm clip_norm (0: not clipped). `sgd` has Nesterov
    momentum, and weight decay added to the gradient before it, as PyTorch's; `adamw` decouples it.

    Raises:
      ConfigError: an unknown name or schedule.
    """
    one_of(f"{section}.name", optimizer.name, ("adamw", "sgd"))
    schedule = learning_rates(optimizer, total_steps, section)
    clip_norm, decay = optimizer.clip_norm, optimizer.weight_decay
    clip = optax.clip_by_global_norm(clip_norm) if clip_norm > 0 else optax.identity()
    if optimizer.name == "adamw":
        b1, b2 = optimizer.beta1, optimizer.beta2
        return optax.chain(
            clip, optax.adamw(schedule, b1=b1, b2=b2, weight_decay=decay)
        ), schedule
    momentum = optax.sgd(schedule, momentum=optimizer.momentum, nesterov=True)
    return optax.chain(clip, optax.add_decayed_weights(decay), momentum), schedule


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
    if decay == 0.0:
        return params
    return jax.tree.map(lambda a, p: a + (1.0 - decay) * (p - a), average, params)


def shard_batch(x: jax.Array) -> jax.Array:
    """Spreads the first axis of x over the mesh's axes; as it is where there is no mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, jax.sharding.PartitionSpec(mesh.axis_names))

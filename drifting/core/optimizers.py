"""Optimisers and learning rates from the optimizer section of a config."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from drifting.core.errors import ConfigError, one_of


@dataclasses.dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101)."""

    learning_rate: float = 2e-4  # at the end of the warm-up
    schedule: str = "constant"  # after the warm-up; or cosine, to 0 at the end
    warmup_steps: int = 1000  # of a linear rise
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.01
    clip_norm: float = 2.0  # of all gradients of a network together; 0: not clipped


@dataclasses.dataclass(frozen=True)
class SGD:
    """SGD with Nesterov momentum; weight decay is added to the gradient first, as in PyTorch."""

    learning_rate: float = 0.1  # at the end of the warm-up
    schedule: str = "cosine"  # to 0 at the end; or constant after the warm-up
    warmup_steps: int = 1000  # of a linear rise
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip_norm: float = 0.0  # of all gradients of a network together; 0: not clipped


OPTIMIZERS = {"adamw": AdamW, "sgd": SGD}


def name_of(settings: AdamW | SGD) -> str:
    """The name of an optimiser's settings in OPTIMIZERS."""
    return next(name for name, kind in OPTIMIZERS.items() if type(settings) is kind)


def learning_rates(optimizer: Any, total_steps: int, section: str = "optimizer") -> optax.Schedule:
    """The learning rate at each step (from 0), from an optimizer section of a config.

    Step k of a linear warm-up over W steps has the rate learning_rate * (k + 1) / W: the first step
    is neither at 0 nor, as in some references, at the full rate. `constant` stays at learning_rate.
    `cosine` decays from learning_rate at step W along half a cosine (Loshchilov and Hutter,
    arXiv:1608.03983) to exactly 0 at step total_steps, one after the last.

    Raises:
      ConfigError: the schedule is unknown, or the warm-up takes the whole run.
    """
    peak, warmup = optimizer.learning_rate, optimizer.warmup_steps
    one_of(f"{section}.schedule", optimizer.schedule, ("constant", "cosine"))
    cosine = optimizer.schedule == "cosine"
    if cosine and warmup >= total_steps:
        raise ConfigError(
            f"config.{section}.warmup_steps = {warmup} leaves nothing of the {total_steps} steps "
            "for the cosine; shorten the warm-up or train for longer"
        )

    def schedule(step: jax.Array) -> jax.Array:
        step = jnp.asarray(step, jnp.float32)
        rate = peak * jnp.minimum(1.0, (step + 1.0) / max(warmup, 1))
        if not cosine:
            return rate
        done = jnp.clip((step - warmup) / (total_steps - warmup), 0.0, 1.0)
        return jnp.where(step < warmup, rate, 0.5 * peak * (1.0 + jnp.cos(jnp.pi * done)))

    return schedule


def clip_together(grads: Any, clip_norm: float) -> Any:
    """The gradients of several networks, scaled so that the norm of all is at most clip_norm."""
    return optax.clip_by_global_norm(clip_norm).update(grads, optax.EmptyState())[0]


def make_optimizer(
    optimizer: Any, total_steps: int, section: str = "optimizer"
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimiser that a config section names, and its learning rate.

    Gradients are first clipped to the global norm clip_norm.

    Raises:
      ConfigError: the name or the schedule is unknown.
    """
    one_of(f"{section}.name", optimizer.name, OPTIMIZERS)
    schedule = learning_rates(optimizer, total_steps, section)
    clip_norm, decay = optimizer.clip_norm, optimizer.weight_decay
    clip = optax.clip_by_global_norm(clip_norm) if clip_norm > 0 else optax.identity()
    if optimizer.name == "adamw":
        b1, b2 = optimizer.beta1, optimizer.beta2
        return optax.chain(clip, optax.adamw(schedule, b1=b1, b2=b2, weight_decay=decay)), schedule
    momentum = optax.sgd(schedule, momentum=optimizer.momentum, nesterov=True)
    return optax.chain(clip, optax.add_decayed_weights(decay), momentum), schedule

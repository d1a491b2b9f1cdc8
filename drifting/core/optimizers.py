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
    schedule: str = "constant"  # after the warm-up; or cosine or linear, to final_learning_rate
    warmup_steps: int = 1000  # of a linear rise
    final_learning_rate: float = 0.0  # at the end of cosine and linear
    hold_share: float = 0.5  # of the steps, after which linear begins to fall
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.01
    clip_norm: float = 2.0  # of all gradients of a network together; 0: not clipped


@dataclasses.dataclass(frozen=True)
class SGD:
    """SGD with Nesterov momentum; weight decay is added to the gradient first, as in PyTorch."""

    learning_rate: float = 0.1  # at the end of the warm-up
    schedule: str = "cosine"  # or linear, to final_learning_rate; or constant after the warm-up
    warmup_steps: int = 1000  # of a linear rise
    final_learning_rate: float = 0.0  # at the end of cosine and linear
    hold_share: float = 0.5  # of the steps, after which linear begins to fall
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip_norm: float = 0.0  # of all gradients of a network together; 0: not clipped


OPTIMIZERS = {"adamw": AdamW, "sgd": SGD}
SCHEDULES = ("constant", "cosine", "linear")


def name_of(settings: AdamW | SGD) -> str:
    """The name of an optimiser's settings in OPTIMIZERS."""
    return next(name for name, kind in OPTIMIZERS.items() if type(settings) is kind)


def learning_rates(optimizer: Any, total_steps: int, section: str = "optimizer") -> optax.Schedule:
    """The learning rate at each step (from 0), from an optimizer section of a config.

    Step k of a linear warm-up over W steps has the rate learning_rate * (k + 1) / W: the first step
    is neither at 0 nor, as in some references, at the full rate. `constant` stays at learning_rate.
    The others fall from learning_rate at a step F to exactly final_learning_rate at step
    total_steps, one after the last. At step k, with d = (k - F) / (total_steps - F), they are at

        final_learning_rate + (learning_rate - final_learning_rate) * share,
        cosine: share = (1 + cos(pi d)) / 2, F = W   (Loshchilov and Hutter, arXiv:1608.03983)
        linear: share = 1 - d,               F = max(W, hold_share * total_steps)

    Raises:
      ConfigError: the schedule is unknown, the warm-up takes the whole run, or a value is out of
        its range.
    """
    first, last = optimizer.learning_rate, optimizer.final_learning_rate
    warmup, falls = optimizer.warmup_steps, optimizer.schedule != "constant"
    _check_schedule(optimizer, total_steps, section)
    linear = optimizer.schedule == "linear"
    start = max(warmup, optimizer.hold_share * total_steps) if linear else warmup

    def schedule(step: jax.Array) -> jax.Array:
        step = jnp.asarray(step, jnp.float32)
        rate = first * jnp.minimum(1.0, (step + 1.0) / max(warmup, 1))
        if not falls:
            return rate
        done = jnp.clip((step - start) / (total_steps - start), 0.0, 1.0)
        share = 1.0 - done if linear else 0.5 * (1.0 + jnp.cos(jnp.pi * done))
        return jnp.where(step < start, rate, last + (first - last) * share)

    return schedule


def _check_schedule(optimizer: Any, total_steps: int, section: str) -> None:
    """Raises ConfigError, naming the key, for what `learning_rates` cannot follow."""
    name, warmup, hold = optimizer.schedule, optimizer.warmup_steps, optimizer.hold_share
    first, last = optimizer.learning_rate, optimizer.final_learning_rate
    one_of(f"{section}.schedule", name, SCHEDULES)
    if last and name == "constant":
        raise ConfigError(
            f"config.{section}.final_learning_rate = {last} is never reached by the schedule "
            "'constant'; set the schedule to 'cosine' or 'linear', or this to 0.0"
        )
    if not 0.0 <= last <= first:
        raise ConfigError(
            f"config.{section}.final_learning_rate = {last} is not between 0 and the learning_rate "
            f"of {first}, from which the rate falls; choose another"
        )
    if name == "linear" and not 0.0 <= hold < 1.0:
        raise ConfigError(
            f"config.{section}.hold_share = {hold} is not in [0, 1); set the share of the steps "
            "before the rate falls"
        )
    if name != "constant" and warmup >= total_steps:
        raise ConfigError(
            f"config.{section}.warmup_steps = {warmup} leaves nothing of the {total_steps} steps "
            f"for the {name} schedule; shorten the warm-up or train for longer"
        )


def clip_together(grads: Any, clip_norm: float) -> Any:
    """The gradients of several networks, scaled so that the norm of all is at most clip_norm."""
    return optax.clip_by_global_norm(clip_norm).update(grads, optax.EmptyState())[0]


def make_optimizer(
    optimizer: Any, total_steps: int, section: str = "optimizer"
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimiser that a config section names, and its learning rate.

    Gradients are first clipped to the global norm clip_norm.

    Raises:
      ConfigError: the name is unknown, or as `learning_rates`.
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

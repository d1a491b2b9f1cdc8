"""The generator's loss: its features' squared distance to stopped goals, and the gradient.

The set is coupled through a target that is stopped, so micro-batches are exact: the field is
evaluated once on the whole set's features, then the regression goes chunk by chunk. One more
forward pass buys the activations of one chunk instead of all.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from drifting.fields import kernel
from drifting.methods import gradients

Stacks = tuple[jax.Array, ...]  # [S, B, D], one a feature
Targets = tuple[kernel.Target, ...]  # goal [S, B, D] and scale [S, B, 1], one a feature


def weights(valid: jax.Array, num_generated: int) -> jax.Array:
    """Of samples, [B], from the validity of its class [C]; they sum to 1 where any is valid."""
    weight = valid / (jnp.maximum(jnp.sum(valid), 1.0) * num_generated)
    return jnp.repeat(weight, num_generated)


def loss(phi: Stacks, targets: Targets, weight: jax.Array) -> jax.Array:
    """The mean over features of sum_b weight_b mean_{s, d} (phi / scale - goal)^2.

    A feature of many places weighs as much as one of a single place. (The released code sums over
    features; the mean differs by a factor alone, which Adam does not see.)
    """
    total = jnp.zeros(())
    for f, target in zip(phi, targets, strict=True):
        error = jnp.mean(jnp.square(f / target.scale - target.goal), axis=(0, 2))  # [B]
        total += jnp.sum(error * weight)
    return total / len(phi)


def loss_and_grads(
    phi_of: Callable[[Any, Any, jax.Array], Stacks],
    targets_of: Callable[[Stacks], tuple[Targets, Any]],
    params: Any,
    inputs: Any,
    key: jax.Array,
    weight: jax.Array,
    micro_batches: int,
) -> tuple[jax.Array, Any, Any]:
    """The loss, its gradient by `params`, and what `targets_of` returns beside the targets.

    Args:
      phi_of: features of the images that `params` make of `inputs`, under a dropout key.
      targets_of: of the whole set's features.
      inputs: a pytree of arrays [B, ...].
      weight: [B].
      micro_batches: chunks of B whose activations are alive one at a time.
    """
    if micro_batches == 1:

        def whole(params: Any) -> tuple[jax.Array, Any]:
            phi = phi_of(params, inputs, key)
            targets, beside = targets_of(phi)
            return loss(phi, targets, weight), beside

        (value, beside), grads = jax.value_and_grad(whole, has_aux=True)(params)
        return value, grads, beside

    keys = jax.random.split(key, micro_batches)
    chunks = gradients.in_chunks(inputs, micro_batches)
    phi = jax.lax.map(lambda chunk: phi_of(params, *chunk), (chunks, keys))
    targets, beside = targets_of(tuple(_unchunk(f) for f in phi))

    def of_chunk(chunk: tuple) -> tuple[jax.Array, Any]:
        inputs, key, targets, weight = chunk

        def part(params: Any) -> jax.Array:
            return loss(phi_of(params, inputs, key), targets, weight)

        return jax.value_and_grad(part)(params)

    rows = (
        chunks,
        keys,
        gradients.in_chunks(targets, micro_batches, axis=1),
        gradients.in_chunks(weight, micro_batches),
    )
    value, grads = gradients.sum_over_chunks(of_chunk, rows)
    return value, grads, beside


def _unchunk(stack: jax.Array) -> jax.Array:
    """[M, S, B / M, D] to [S, B, D]."""
    return jnp.moveaxis(stack, 0, 1).reshape(stack.shape[1], -1, stack.shape[-1])

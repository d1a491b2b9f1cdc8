"""The generator's loss, a squared distance to fixed targets, and its gradient.

    loss = sum over features of sum_b weight_b mean_{s, d} (phi_sbd / scale_sb - goal_sbd)^2

Samples interact only through the targets, which carry no gradient, so micro-batches are exact: the
field is evaluated once on the features of the whole set, then the regression runs chunk by chunk.
This costs one more forward pass and holds only one chunk's activations in memory.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from drifting.fields import kernel
from drifting.methods import gradients

Stacks = tuple[jax.Array, ...]  # [S, B, D], one per feature
Targets = tuple[kernel.Target, ...]  # goal [S, B, D] and scale [S, B, 1], one per feature


def weights(valid: jax.Array, num_generated: int) -> jax.Array:
    """The weight of each sample, [B], from the validity of its class [C]; the sum is 1, or 0."""
    weight = valid / (jnp.maximum(jnp.sum(valid), 1.0) * num_generated)
    return jnp.repeat(weight, num_generated)


def loss(phi: Stacks, targets: Targets, weight: jax.Array, mean: bool = False) -> jax.Array:
    """The loss (see above): a feature with many places weighs as much as one with a single place.

    Args:
      mean: averages over features instead of summing. Adam alone would not see that constant
        factor, but gradient clipping does.
    """
    total = jnp.zeros(())
    for f, target in zip(phi, targets, strict=True):
        error = jnp.mean(jnp.square(f / target.scale - target.goal), axis=(0, 2))  # [B]
        total += jnp.sum(error * weight)
    return total / len(phi) if mean else total


def loss_and_grads(
    phi_of: Callable[[Any, Any, jax.Array], Stacks],
    targets_of: Callable[[Stacks], tuple[Targets, Any]],
    params: Any,
    inputs: Any,
    key: jax.Array,
    weight: jax.Array,
    micro_batches: int,
    mean: bool = False,
) -> tuple[jax.Array, Any, Any]:
    """The loss, its gradient with respect to `params`, and the second result of `targets_of`.

    Args:
      phi_of: (params, inputs, dropout key) -> features of the generated images.
      targets_of: features of the whole set -> targets, and anything else.
      inputs: a pytree of arrays [B, ...].
      weight: [B].
      micro_batches: the number of chunks; the activations of one are held at a time.
      mean: averages the loss over features, see `loss`.
    """
    if micro_batches == 1:

        def whole(params: Any) -> tuple[jax.Array, Any]:
            phi = phi_of(params, inputs, key)
            targets, aux = targets_of(phi)
            return loss(phi, targets, weight, mean), aux

        (value, aux), grads = jax.value_and_grad(whole, has_aux=True)(params)
        return value, grads, aux

    keys = jax.random.split(key, micro_batches)
    chunks = gradients.in_chunks(inputs, micro_batches)
    phi = jax.lax.map(lambda chunk: phi_of(params, *chunk), (chunks, keys))  # [M, S, B / M, D]
    targets, aux = targets_of(tuple(_unchunk(f) for f in phi))

    def of_chunk(chunk: tuple) -> tuple[jax.Array, Any]:
        inputs, key, targets, weight = chunk

        def part(params: Any) -> jax.Array:
            return loss(phi_of(params, inputs, key), targets, weight, mean)

        return jax.value_and_grad(part)(params)

    rows = (
        chunks,
        keys,
        gradients.in_chunks(targets, micro_batches, axis=1),
        gradients.in_chunks(weight, micro_batches),
    )
    value, grads = gradients.sum_over_chunks(of_chunk, rows)
    return value, grads, aux


def _unchunk(stack: jax.Array) -> jax.Array:
    """[M, S, B / M, D] to [S, B, D], the inverse of `gradients.in_chunks`."""
    return jnp.moveaxis(stack, 0, 2).reshape(stack.shape[1], -1, stack.shape[-1])  # [S, B, D]

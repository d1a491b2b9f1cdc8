"""TrainState, and one function for each thing a step does to it: optimize, average, count."""

import math
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

PyTree = Any
Optimizers = Mapping[str, optax.GradientTransformation]

BY_NETWORK = ("params", "ema_params", "ema_rest", "opt_state")  # the fields of a state that are


@flax.struct.dataclass
class TrainState:
    """Everything that a run needs in order to continue, as one pytree.

    Attributes:
      step: int32 scalar, the number of steps taken.
      params: a dict keyed by network (`generator`, `field`, ...).
      ema_params: the averaged parameters, of the networks that have an average.
      ema_rest: what rounding cut off from ema_params, see `ema_update`.
      opt_state: a dict keyed by network.
      extra: anything else that a method carries (sample queue, batch statistics).
    """

    step: jax.Array
    params: PyTree
    ema_params: PyTree
    ema_rest: PyTree
    opt_state: PyTree
    extra: PyTree

    @classmethod
    def create(
        cls,
        params: PyTree,
        optimizers: Optimizers,
        decays: Mapping[str, float],
        extra: PyTree | None = None,
    ) -> "TrainState":
        """A state at step 0 whose averages equal the parameters.

        Args:
          decays: of the averages, by network; a network without one, or with 0, has no average.
        """
        averaged = {name: values for name, values in params.items() if decays.get(name)}
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            # A copy: donated buffers must not be shared between two leaves.
            ema_params=jax.tree.map(jnp.array, averaged),
            ema_rest=jax.tree.map(jnp.zeros_like, averaged),
            opt_state={name: optimizers[name].init(params[name]) for name in params},
            extra={} if extra is None else extra,
        )

    def weights(self, name: str, ema: bool = True) -> PyTree:
        """The parameters of a network: the average if there is one and `ema` is true."""
        return self.ema_params[name] if ema and name in self.ema_params else self.params[name]


def with_network(state: TrainState, name: str, other: TrainState) -> TrainState:
    """`state`, with the network `name` and its optimiser state taken from `other`."""
    given = {part: vars(other)[part] for part in BY_NETWORK}
    return state.replace(
        **{
            part: {**vars(state)[part], name: values[name]}
            for part, values in given.items()
            if name in values
        }
    )


def optimize(state: TrainState, grads: Mapping[str, PyTree], optimizers: Optimizers) -> TrainState:
    """Updates every network in `grads` once with its optimiser."""
    params, opt_state = dict(state.params), dict(state.opt_state)
    for name, grad in grads.items():
        updates, opt_state[name] = optimizers[name].update(
            grad, state.opt_state[name], state.params[name]
        )
        params[name] = optax.apply_updates(state.params[name], updates)
    return state.replace(params=params, opt_state=opt_state)


def average(state: TrainState, decays: Mapping[str, float], start: int = 0) -> TrainState:
    """Moves all averages towards the parameters; before step `start` (from 0) all the way."""
    means, rests = dict(state.ema_params), dict(state.ema_rest)
    for name in means:
        share = ema_share(decays[name], state.step)
        if start:
            share = jnp.where(state.step < start, 1.0, share)
        means[name], rests[name] = ema_update(means[name], rests[name], state.params[name], share)
    return state.replace(ema_params=means, ema_rest=rests)


def count(state: TrainState) -> TrainState:
    """Counts one step, however many optimisers it used."""
    return state.replace(step=state.step + 1)


class WarmedUp(float):
    """A decay that is at most (1 + t) / (10 + t) at step t (from 0), so averages start quickly.

    As `num_updates` of TensorFlow's tf.train.ExponentialMovingAverage.
    """


def ema_share(decay: float, step: jax.Array) -> float | jax.Array:
    """The weight of the newest values in an average, which is 1 - decay.

    It is never computed from a decay in float32, which would change 1 - 0.99995 by 2e-4 of it.
    """
    share = 1.0 - decay
    return jnp.maximum(share, 9.0 / (10.0 + step)) if isinstance(decay, WarmedUp) else share


def ema_update(
    mean: PyTree, rest: PyTree, values: PyTree, share: float | jax.Array
) -> tuple[PyTree, PyTree]:
    """One step of the average mean + rest towards `values`; returns its new mean and rest.

    In float32 alone an average with decay 0.99995 stops short of its target: steps of 1 - decay of
    what is left round to nothing long before it arrives. So what each addition rounds off is kept
    and added to the next one (Kahan, CACM 8(1), 1965). `mean` alone is the average in float32.
    """
    change = jax.tree.map(lambda m, r, v: share * ((v - m) - r) + r, mean, rest, values)
    moved = jax.tree.map(jnp.add, mean, change)
    rest = jax.tree.map(lambda new, old, c: c - (new - old), moved, mean, change)
    return moved, rest


def shard_batch(x: jax.Array) -> jax.Array:
    """Shards the first axis of x over all axes of the mesh; returns x itself without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, jax.sharding.PartitionSpec(mesh.axis_names))


def shard_groups(x: jax.Array, wholes: int) -> jax.Array:
    """Shards the first axis of x, which holds `wholes` equal parts, so that none is divided.

    Over all axes of the mesh, or else over the first of them that divides the parts; if none does,
    or without a mesh, x is returned as it is.
    """
    mesh = jax.sharding.get_abstract_mesh()
    for axes in (mesh.axis_names, *((name,) for name in mesh.axis_names)):
        count = math.prod(mesh.shape[name] for name in axes)
        if count > 1 and wholes % count == 0:
            return jax.lax.with_sharding_constraint(x, jax.sharding.PartitionSpec(axes))
    return x

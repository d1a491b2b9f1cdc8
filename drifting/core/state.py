"""TrainState, and one function for each thing a step does to it: optimize, average, count."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

PyTree = Any
Optimizers = Mapping[str, optax.GradientTransformation]


@flax.struct.dataclass
class TrainState:
    """Everything that a run needs in order to continue, as one pytree.

    Attributes:
      step: int32 scalar, the number of steps taken.
      params: a dict keyed by network (`generator`, `field`, ...).
      ema_params: the averaged parameters, of the networks that have an average.
      opt_state: a dict keyed by network.
      extra: anything else that a method carries (sample queue, batch statistics).
    """

    step: jax.Array
    params: PyTree
    ema_params: PyTree
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
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            # A copy: donated buffers must not be shared between two leaves.
            ema_params={
                name: jax.tree.map(jnp.array, params[name]) for name in params if decays.get(name)
            },
            opt_state={name: optimizers[name].init(params[name]) for name in params},
            extra={} if extra is None else extra,
        )

    def weights(self, name: str, ema: bool = True) -> PyTree:
        """The parameters of a network: the average if there is one and `ema` is true."""
        return self.ema_params[name] if ema and name in self.ema_params else self.params[name]


def with_network(state: TrainState, name: str, other: TrainState) -> TrainState:
    """`state`, with the network `name` and its optimiser state taken from `other`."""
    given = {part: vars(other)[part] for part in ("params", "ema_params", "opt_state")}
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


def average(state: TrainState, decays: Mapping[str, float]) -> TrainState:
    """Moves all averages towards the parameters."""
    averages = {
        name: ema_update(mean, state.params[name], decays[name])
        for name, mean in state.ema_params.items()
    }
    return state.replace(ema_params=averages)


def count(state: TrainState) -> TrainState:
    """Counts one step, however many optimisers it used."""
    return state.replace(step=state.step + 1)


def ema_update(mean: PyTree, values: PyTree, decay: float) -> PyTree:
    """decay * mean + (1 - decay) * values, in the float32 of the mean."""
    return jax.tree.map(lambda m, v: m + (1.0 - decay) * (v - m), mean, values)


def shard_batch(x: jax.Array) -> jax.Array:
    """Shards the first axis of x over all axes of the mesh; returns x itself without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, jax.sharding.PartitionSpec(mesh.axis_names))

"""TrainState, and what a step does to it: optimise, average, count; each a function of its own."""

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
    """Everything a run needs to go on, as one pytree.

    Attributes:
      step: int32 scalar, the number of steps taken.
      params: a dict keyed by network (`generator`, `field`, ...).
      ema_params: the averages of those networks that have one.
      opt_state: a dict keyed by network.
      extra: what else a method carries (sample queue, batch statistics).
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
        """A state at step 0 whose averages are the parameters themselves.

        Args:
          decays: of the averages, by network; one that is not there, or at 0, has none.
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
        """The parameters of a network, averaged where it has an average and `ema` asks for it."""
        return self.ema_params[name] if ema and name in self.ema_params else self.params[name]


def with_network(state: TrainState, name: str, other: TrainState) -> TrainState:
    """`state` with all that another state holds of the network `name`."""
    given = {part: vars(other)[part] for part in ("params", "ema_params", "opt_state")}
    return state.replace(
        **{
            part: {**vars(state)[part], name: values[name]}
            for part, values in given.items()
            if name in values
        }
    )


def optimize(state: TrainState, grads: Mapping[str, PyTree], optimizers: Optimizers) -> TrainState:
    """One update of every network in `grads` by its optimiser."""
    params, opt_state = dict(state.params), dict(state.opt_state)
    for name, grad in grads.items():
        updates, opt_state[name] = optimizers[name].update(
            grad, state.opt_state[name], state.params[name]
        )
        params[name] = optax.apply_updates(state.params[name], updates)
    return state.replace(params=params, opt_state=opt_state)


def average(state: TrainState, decays: Mapping[str, float]) -> TrainState:
    """Moves the average of every network that has one towards its parameters."""
    averages = {
        name: ema_update(mean, state.params[name], decays[name])
        for name, mean in state.ema_params.items()
    }
    return state.replace(ema_params=averages)


def count(state: TrainState) -> TrainState:
    """One step more, however many optimisers it had."""
    return state.replace(step=state.step + 1)


def ema_update(mean: PyTree, values: PyTree, decay: float) -> PyTree:
    """decay * mean + (1 - decay) * values, in the mean's own float32."""
    return jax.tree.map(lambda m, v: m + (1.0 - decay) * (v - m), mean, values)


def shard_batch(x: jax.Array) -> jax.Array:
    """Spreads the first axis of x over the mesh's axes; as it is where there is no mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, jax.sharding.PartitionSpec(mesh.axis_names))

"""A run of a method that compiles at once: three weights, which decay by a tenth in each step."""

import types

import jax
import jax.numpy as jnp
import ml_collections
import optax

from drifting.core import state as state_lib
from drifting.core.state import TrainState
from drifting.training import mesh
from drifting.training.schedule import Schedule, Settings
from input_pipeline.feed import Feed

OPTIMIZERS = {"generator": optax.sgd(0.1)}


class Weights:
    """From step `explodes` on, the update makes the weights `far`; the loss is of before."""

    replaceable, best_score, images_per_step, stream_batch = (), None, 1, 1
    plotted = ("loss",)
    terms = ("loss", "grad_norm")

    def __init__(self, explodes=0, far=0.0):
        self.explodes, self.far = explodes, far

    def init(self, key):
        del key
        weights = {"generator": {"w": jnp.ones(3)}}
        return TrainState.create(weights, OPTIMIZERS, {"generator": 0.9})

    def train_step(self, state, data, key, frozen):
        del data, key, frozen
        grads = state.params
        loss = jnp.sum(jnp.square(grads["generator"]["w"]))
        state = state_lib.count(state_lib.optimize(state, grads, OPTIMIZERS))
        far = (state.step >= self.explodes) & (self.explodes > 0)
        params = jax.tree.map(lambda w: jnp.where(far, self.far, w), state.params)
        return state.replace(params=params), {"loss": loss, "grad_norm": jnp.sqrt(loss)}

    def summaries(self, state, key, data, frozen):
        del state, key, data, frozen
        return {}

    def diagnostics(self, state, key, data):
        del state, key, data
        return {}


def parts(total, method=None, **train):
    """The parts of a run with a checkpoint at every step, for `loop.train`."""
    settings = Settings(tensorboard=False, **train)
    config = ml_collections.ConfigDict(dict(seed=0, train=vars(settings)))
    data = types.SimpleNamespace(feed=lambda *_: Feed({"nothing": jnp.zeros(1)}))
    return types.SimpleNamespace(
        method=method or Weights(), config=config, data=data, held_out=None, parameters={},
        schedule=Schedule(total, log=1, sample=total, checkpoint=1, per_call=1, per_epoch=1.0),
        mesh=mesh.make_mesh(1, 1, (1,)),
    )  # fmt: skip

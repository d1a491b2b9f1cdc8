"""A method without a network, whose loss and scores tell which images it was given."""

import jax.numpy as jnp
import numpy as np
import optax

from drifting.core import state as state_lib
from drifting.core.method import Grid, Scored
from drifting.core.state import TrainState
from drifting.methods.batches import BatchSettings


def make(facts, batch_size):
    """The method for data of these facts."""
    return StubMethod(
        settings=BatchSettings(batch_size),
        facts=facts,
        network=None,
        optimizers={"w": optax.sgd(1.0)},
        schedule=optax.constant_schedule(1.0),
        ema_decay=0.0,
        seed=0,
        flip=False,
    )


def weigh(images, labels):
    """A sum that no other batch has, nor the same images in another order."""
    places = 1.0 + np.arange(len(labels), dtype=np.float32)
    return (images.mean(axis=(1, 2, 3)) * (1.0 + labels) * places).sum()


class StubMethod(Scored):
    """Trains on a stream, and is scored on held-out images."""

    network_name = "w"
    streams = True

    def init(self, key):
        return TrainState.create({"w": jnp.zeros((2,))}, self.optimizers, self.decays)

    def train_step(self, state, data, key, frozen):
        metrics = {"loss": weigh(data.images, data.labels), "grad_norm": jnp.zeros(())}
        return state_lib.count(state), metrics

    def summaries(self, state, key, data, frozen):
        return {"first": Grid(data.images.reshape(1, -1, *self.space.shape))}

    def tally(self, state, images, labels, weight, key):
        """Sums that show an image that is left out or counted twice; `state` is any number."""
        means = jnp.mean(images, axis=(1, 2, 3))
        return {
            "count": jnp.sum(weight),
            "total": jnp.sum(weight * means * (1.0 + labels)),
            "scaled": state * jnp.sum(weight),
        }

    def scores(self, sums):
        return {"mean": float(sums["total"] / sums["count"])}

"""Methods without a network: an exact linear autoencoder, and a generator of known latents.

Both are trained in seconds by way of `drifting.train`, so that whole runs are tested against images
that are known beforehand.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from drifting import methods
from drifting.core import config as config_lib
from drifting.core import state as state_lib
from drifting.core.method import Autoencoder, Generator
from drifting.core.state import TrainState
from drifting.methods import shown
from drifting.methods.batches import BatchSettings


def register(monkeypatch):
    """Makes both known by name, as lines in drifting/methods/__init__.py would."""
    for name, kind in (("linear", "LinearAutoencoder"), ("known", "KnownLatents")):
        monkeypatch.setitem(methods.METHODS, name, f"{__name__}:{kind}")


def config(method, **changed):
    """The config of two steps of a method, on the digits; `changed` holds values by dotted key."""
    made = config_lib.of(method)
    short = {
        "mesh.data": 1,
        "train.total_steps": 2,
        "train.sample_steps": 2,
        "train.checkpoint_steps": 1,
        "train.keep_checkpoints": 9,
        "train.log_steps": 1,
        "train.tensorboard": False,
        "ema_decay": 0.0,
        "eval.features": "pixels",
    }
    made.update_from_flattened_dict(short | changed)
    return made


def blocks_of(images):
    """Images [B, 2h, 2w, 1] as [B, h, w, 4]: the pixels of each 2x2 block become channels."""
    b, height, width, _ = images.shape
    x = images.reshape(b, height // 2, 2, width // 2, 2)
    return x.transpose(0, 1, 3, 2, 4).reshape(b, height // 2, width // 2, 4)


def from_blocks(blocks):
    """The inverse of `blocks_of`."""
    b, height, width, _ = blocks.shape
    x = blocks.reshape(b, height, width, 2, 2).transpose(0, 1, 3, 2, 4)
    return x.reshape(b, 2 * height, 2 * width, 1)


class _Untrained:
    """Steps that change nothing but the count."""

    family = "generator"
    default_network = "cnn"
    settings_type = BatchSettings

    @classmethod
    def make_network(cls, config, facts, settings):
        return None

    def train_step(self, state, data, key, frozen):
        return state_lib.count(state), {"loss": jnp.zeros(()), "grad_norm": jnp.zeros(())}

    def _state(self, params):
        optimizers = {self.network_name: optax.sgd(0.0)}
        return TrainState.create({self.network_name: params}, optimizers, self.decays)


@dataclasses.dataclass(frozen=True, eq=False)
class LinearAutoencoder(_Untrained, Autoencoder):
    """Latents are the pixels of 2x2 blocks, multiplied and shifted by channel; no variance."""

    network_name: ClassVar[str] = "codec"

    def init(self, key):
        gain, offset = jax.random.uniform(key, (2, 4), minval=0.5, maxval=2.0)
        return self._state({"gain": gain, "offset": offset})

    def summaries(self, state, key, data, frozen):
        return {}

    def autoencoder(self, state):
        return state.params["codec"]

    def moments(self, parameters, images):
        mean = blocks_of(images) * parameters["gain"][None, None, None]
        mean = mean + parameters["offset"][None, None, None]
        return jnp.concatenate([mean, jnp.full_like(mean, -30.0)], axis=-1)

    def decode(self, parameters, latents):
        blocks = latents - parameters["offset"][None, None, None]
        return from_blocks(blocks / parameters["gain"][None, None, None])


@dataclasses.dataclass(frozen=True, eq=False)
class KnownLatents(_Untrained, Generator):
    """Generates, for each label, the mean of the training latents of that label, or NaN."""

    network_name: ClassVar[str] = "latents"

    def init(self, key):
        return self._state({"of_label": jnp.zeros((self.num_classes, *self.space.shape))})

    def train_step(self, state, data, key, frozen):
        known = data.labels[None] == jnp.arange(self.num_classes)[:, None]  # [K, N]
        weights = known / jnp.sum(known, axis=1, keepdims=True)
        mean = jnp.einsum("kn,nhwc->khwc", weights, data.space.to_model(data.images))
        state = state.replace(params={"latents": {"of_label": mean}})
        return super().train_step(state, data, key, frozen)

    def sample(self, state, key, labels, cfg_scale=1.0, ema=True):
        return state.params["latents"]["of_label"][labels]

    def nfe(self, cfg_scale):
        return 1

    def summaries(self, state, key, data, frozen):
        return shown.samples(self, state, key, data, frozen)


def digit_pictures(images):
    """uint8 images as a model sees them."""
    return np.float32(images) / 127.5 - 1.0

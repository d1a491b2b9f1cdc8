"""A translator without a network, which makes images brighter with every step."""

import dataclasses

import jax.numpy as jnp
import numpy as np

import drifting
from drifting.core import state as state_lib
from drifting.core.method import Grid, Translator
from drifting.core.state import TrainState
from drifting.methods.batches import BatchSettings

NAME = "shift"
LEVELS = 12  # of 255, per step


@dataclasses.dataclass(frozen=True, eq=False)
class Shift(Translator):
    """Its translations at step t are the images plus t * LEVELS."""

    settings_type = BatchSettings
    family = "generator"
    default_network = "cnn"
    network_name = "translator"
    defaults = {"eval.cfg_scale": 1.0}

    @classmethod
    def make_network(cls, config, facts, settings):
        return None

    def init(self, key):
        weights = {"translator": {"shift": jnp.zeros(())}}
        return TrainState.create(weights, self.optimizers, self.decays)

    def train_step(self, state, data, key, frozen):
        images, _ = data.next_batch(key, state.step, self.batch_size)
        params = {"translator": {"shift": state.params["translator"]["shift"] + LEVELS / 127.5}}
        metrics = {"loss": jnp.mean(jnp.square(images)), "grad_norm": jnp.zeros(())}
        return state_lib.count(state.replace(params=params)), metrics

    def summaries(self, state, key, data, frozen):
        return {"images": Grid(data.draw(key, 4)[0][None])}

    def translate(self, state, images, ema=True):
        return jnp.clip(images + state.params["translator"]["shift"], -1.0, 1.0)


def make_data(path, target, test=True):
    """Writes an npz file of two domains whose grey levels are 60 and `target` on average.

    14 images of the source domain and 10 of the target domain; in the test split, if there is to
    be one, 12 and 10 others.
    """
    generator, arrays = np.random.default_rng(0), {}
    for prefix, count in (("", 14), ("test_", 12))[: 1 + test]:
        labels = generator.permutation(np.repeat([0, 1], [count, 10]))
        noise = generator.integers(-20, 21, (len(labels), 8, 8, 1))
        level = np.where(labels == 0, 60, target)[:, None, None, None]
        arrays[f"{prefix}images"] = (noise + level).astype(np.uint8)
        arrays[f"{prefix}labels"] = labels
    np.savez(path, **arrays)


def config(monkeypatch, data, **changed):
    """The config of a run on the domains in the file `data`; values by dotted key."""
    from drifting import methods

    monkeypatch.setitem(methods.METHODS, NAME, f"{__name__}:Shift")
    found = drifting.of(NAME)
    found.update_from_flattened_dict({
        "data.source": f"npz:{data}", "method.batch_size": 4, "mesh.data": 1, "train.log_steps": 1,
        "train.tensorboard": False, "train.total_steps": 8, "train.checkpoint_steps": 2,
        "train.sample_steps": 8, "train.steps_per_call": 2, "eval.features": "pixels",
        "eval.metrics": ("fid", "content"), "eval.batch_size": 5,
    } | changed)  # fmt: skip
    return found

"""A translator without a network, whose translations are known.

It inverts colours and moves images by one pixel to the left and upwards, so that the last row and
column show the padding.
"""

import jax.numpy as jnp

import drifting
from drifting.core import state as state_lib
from drifting.core.method import Grid, Translator
from drifting.core.state import TrainState
from drifting.methods.batches import BatchSettings

NAME = "invert"
CLASS = "inverting_translator:Invert"
# A program for `python -c`: runs the entry point that its first argument names, with the method.
LAUNCH = f"""
import runpy, sys
sys.path.append("tests")
from drifting import methods
methods.METHODS["{NAME}"] = "{CLASS}"
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Invert(Translator):
    """Its averaged weight inverts; its raw weight does not."""

    settings_type = BatchSettings
    family = "generator"
    default_network = "cnn"
    network_name = "contrast"
    traces = []  # the shapes that `translate` was compiled for

    @classmethod
    def make_network(cls, config, facts, settings):
        return None

    def init(self, key):
        state = TrainState.create({"contrast": jnp.ones(())}, self.optimizers, self.decays)
        return state.replace(ema_params={"contrast": jnp.full((), -1.0)})

    def train_step(self, state, data, key, frozen):
        return state_lib.count(state), {"loss": jnp.zeros(()), "grad_norm": jnp.zeros(())}

    def summaries(self, state, key, data, frozen):
        return {"images": Grid(jnp.zeros((1, 1, *self.space.shape)))}

    def translate(self, state, images, ema=True):
        self.traces.append(images.shape)
        return state.weights("contrast", ema) * jnp.roll(images, (-1, -1), axis=(1, 2))


def expected(image):
    """The translation of a stored image [H, W] or [H, W, C] by the averaged weights."""
    for axis in (0, 1):
        count = image.shape[axis]
        # What comes after the last one: the first one again or, in the padding, its mirror image.
        after = max(count - 2, 0) if count % 4 or count < 8 else 0
        image = image.take([*range(1, count), after], axis)
    return 255 - image


def config(channels=3, **changed):
    """The config of a run of one step on digits; `changed` holds values by dotted key."""
    made = drifting.of(NAME)
    values = {
        "data.source": "digits",
        "data.image_size": 8,
        "data.channels": channels,
        "method.batch_size": 16,
        "mesh.data": 1,
        "train.total_steps": 1,
        "train.tensorboard": False,
    }
    made.update_from_flattened_dict(values | changed)
    return made

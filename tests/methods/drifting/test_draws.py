"""The random draws of a drifting step: labels, guidance scales, real images."""

import facts
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.core.errors import ConfigError
from drifting.methods.drifting import draws
from drifting.methods.drifting.settings import Settings
from input_pipeline.queue import SampleQueue
from input_pipeline.space import Latents
from input_pipeline.streaming import Batch

FACTS = facts.make()


def test_labels_are_dropped_at_the_asked_rate():
    settings = Settings(classes_per_step=10, num_generated=400, label_dropout=0.25)
    keys, classes = draws.Keys.of(jax.random.key(0)), jnp.arange(10, dtype=jnp.int32)
    inputs = draws.inputs(settings, FACTS, keys, classes, jnp.ones(10))
    share = np.mean(np.asarray(inputs.condition.label) == 10)
    assert 0.22 < share < 0.28
    kept = np.asarray(inputs.condition.label).reshape(10, 400)
    assert all(set(kept[k].tolist()) <= {k, 10} for k in range(10))


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_guidance_scales_follow_a_power_law(power):
    scales = np.asarray(draws.cfg_scales(jax.random.key(0), 50_000, 1.0, 3.0, power, 0.0))
    assert scales.min() >= 1.0 and scales.max() <= 3.0
    grid = np.linspace(1.0, 3.0, 20_001)
    density = grid**-power
    expected = np.interp(0.5, np.cumsum(density) / density.sum(), grid)
    assert abs(np.median(scales) - expected) < 0.02
    some = np.asarray(draws.cfg_scales(jax.random.key(0), 50_000, 1.0, 3.0, power, 0.4))
    assert abs(np.mean(some == 1.0) - 0.4) < 0.02


def test_unconditional_negatives_of_a_queue_of_their_own():
    """Those of a class are distinct, and of the newest images of all classes."""
    settings = Settings(
        classes_per_step=2, num_positives=2, num_unconditional=3, queue_size=4,
        queue_unconditional=5, queue_push=6,
    )  # fmt: skip
    space = Latents((1, 1, 1))
    extra = {
        "queue": SampleQueue.create(3, 4, space),
        "unconditional": SampleQueue.create(1, 5, space),
    }
    classes, keys = jnp.asarray([2, 0], jnp.int32), draws.Keys.of(jax.random.key(0))
    labels = jnp.asarray([0, 0, 1, 1, 2, 2], jnp.int32)

    def push(first, extra):
        values = jnp.arange(first, first + 6, dtype=jnp.float32).reshape(6, 1, 1, 1)
        return draws.real(settings, 2, False, Batch(values, labels, space), extra, keys, classes)

    found, extra = push(0, extra)
    assert found.valid.tolist() == [1.0, 1.0]
    assert set(found.positives[0].ravel().tolist()) == {4.0, 5.0}
    found, extra = push(6, extra)
    drawn = found.unconditional.reshape(2, 3).tolist()
    assert all(len(set(of_class)) == 3 and set(of_class) <= set(range(7, 12)) for of_class in drawn)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"queue_size": 0}, "set config.method.queue_size as well"),
        ({"num_unconditional": 0}, "no unconditional negatives are drawn"),
        ({"form": "sphere"}, "no unconditional negatives are drawn"),
        ({"queue_unconditional": 15}, "fewer images than the 16 unconditional negatives"),
    ],
)
def test_a_queue_of_negatives_that_cannot_serve(changed, message):
    settings = Settings(**{"queue_size": 32, "queue_unconditional": 16} | changed)
    with pytest.raises(ConfigError, match=message):
        settings.check_draws(FACTS, 32)

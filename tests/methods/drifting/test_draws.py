"""The random draws of a drifting step: labels, guidance scales, real images."""

import facts
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.methods.drifting import draws
from drifting.methods.drifting.settings import Settings

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

"""What the defaults of the two forms do to a distribution of two classes."""

import dataclasses
from typing import ClassVar

import facts
import jax
import numpy as np
import pytest
from flax import linen as nn

from configs import base
from drifting import methods
from drifting.core.errors import ConfigError
from drifting.methods.drifting import draws
from input_pipeline.resident import Resident
from input_pipeline.space import Points

SPREAD = 1.0


class Means(nn.Module):
    """Normal distributions around a trained point for each class and for the null class."""

    num_classes: int
    reads: ClassVar[frozenset[str]] = frozenset({"label"})

    @nn.compact
    def __call__(self, z, condition, train=False):
        rows = self.param("rows", nn.initializers.zeros, (self.num_classes + 1, z.shape[-1]))
        return rows[condition.label] + SPREAD * z


def two_classes(count=2000):
    """Points around (-1, 0) and (1, 0), whose means are exact."""
    half = np.random.default_rng(0).normal(0.0, SPREAD, (count // 2, 2))
    half -= half.mean(axis=0)
    centre = np.asarray([1.0, 0.0])
    points = np.concatenate([half - centre, half + centre]).astype(np.float32)
    labels = np.repeat([0, 1], count // 2)
    return jax.device_put(Resident.of(points, labels, 2, Points((2,))))


def make(network=None, **changed):
    config = base.of("drifting", "mlp")
    config.ema_decay = 0.995
    config.optimizer.update(learning_rate=0.01, warmup_steps=1, weight_decay=0.0)
    config.method.update(dict(num_generated=64, num_positives=64) | changed)
    method = methods.create(config, facts.make(Points((2,)), 2, 2000))
    return dataclasses.replace(method, network=network) if network else method


def gap_between_classes(method, steps=1800):
    """The distance between the means of both classes after training, of the averaged weights."""
    data = two_classes()

    @jax.jit
    def trained(state):
        def step(i, state):
            return method.train_step(state, data, jax.random.fold_in(jax.random.key(1), i), {})[0]

        return jax.lax.fori_loop(0, steps, step, state)

    rows = trained(method.init(jax.random.key(0))).weights("generator")["rows"]
    return float(rows[1, 0] - rows[0, 0])


def test_at_scale_one_the_classes_have_the_means_of_the_data():
    """A dropped label would push the classes apart like a guidance scale of 1 / (1 - 0.1)."""
    gap = gap_between_classes(make(Means(2), cfg_max=1.0))
    assert abs(gap - 2.0) < 0.04


def test_labels_are_dropped_only_where_the_null_class_is_used():
    assert make().settings.label_dropout == 0.0
    assert make(form="sphere").settings.label_dropout == 0.1
    assert make(label_dropout=0.2).settings.label_dropout == 0.2
    assert make(form="sphere", label_dropout=0.0).settings.label_dropout == 0.0


def test_guidance_scales_are_those_of_the_release():
    s = make().settings
    assert (s.cfg_min, s.cfg_max, s.cfg_power, s.cfg_share_at_one) == (1.0, 4.0, 3.0, 0.0)
    scales = draws.cfg_scales(
        jax.random.key(0), 100_000, s.cfg_min, s.cfg_max, s.cfg_power, s.cfg_share_at_one
    )
    # p(s) ~ s^-3 on [1, 4] has the mean 2 (1 - 1/4) / (1 - 1/16) = 1.6.
    np.testing.assert_allclose(scales.mean(), 1.6, rtol=0.01)
    assert np.mean(scales == 1.0) < 1e-3


@pytest.mark.parametrize("key", ["label_dropout", "cfg_share_at_one"])
def test_a_share_out_of_range_is_refused(key):
    with pytest.raises(ConfigError, match=rf"config.method.{key} = 1.5 is not in \[0, 1\]"):
        make(**{key: 1.5})

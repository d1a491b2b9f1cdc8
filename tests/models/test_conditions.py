"""Conditions: their times, and their parts."""

import jax.numpy as jnp
import numpy as np

from models.conditions import Condition


def test_a_step_that_knows_no_times_goes_from_noise_over_the_whole_interval():
    np.testing.assert_array_equal(Condition().times(3), np.ones((2, 3)))
    t, h = Condition(time=jnp.zeros(3)).times(3)
    np.testing.assert_array_equal(t, np.zeros(3))
    np.testing.assert_array_equal(h, np.ones(3))


def test_only_keeps_what_is_read():
    label = jnp.zeros(2, jnp.int32)
    whole = Condition(time=jnp.ones(2), label=label)
    kept = whole.only(frozenset({"label", "guidance"}))
    assert kept.label is label
    assert kept == Condition(label=label)

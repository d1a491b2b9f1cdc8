"""The parts of a run."""

import dataclasses

import jax.numpy as jnp

from configs import digits
from drifting.core.networks import Encoder
from drifting.runs.build import build


def test_a_step_is_given_the_parameters_of_the_frozen_networks():
    parts = build(digits.get_config())
    assert parts.parameters == {}
    given = {"kernel": jnp.ones(3)}
    encoder = Encoder("mine", (8, 8, 1), given, lambda parameters, images: images, "")
    assert dataclasses.replace(parts, frozen={"encoder": encoder}).parameters == {"encoder": given}

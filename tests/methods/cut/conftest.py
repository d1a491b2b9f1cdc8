"""Data, methods and a state that the tests of CUT share."""

import jax
import pytest
import small_cut


@pytest.fixture(scope="module")
def data():
    return small_cut.data()


@pytest.fixture(scope="module")
def method():
    return small_cut.make()


@pytest.fixture(scope="module")
def state(method):
    return small_cut.random_state(method)


@pytest.fixture(scope="module")
def step(method):
    return jax.jit(method.train_step)

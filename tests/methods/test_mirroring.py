"""With data.flip, all real images of a step are mirrored at random, whatever their part in it."""

from types import SimpleNamespace

import facts
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.methods.drifting import draws
from drifting.methods.drifting.settings import Settings
from drifting.methods.meanflow import diagnostics
from input_pipeline.queue import SampleQueue
from input_pipeline.resident import Resident
from input_pipeline.space import Pixels

SPACE = Pixels((2, 2, 1))


@pytest.fixture(scope="module")
def white_on_the_right():
    """Images of which only the right column is white, 200 of each of two classes."""
    images = np.zeros((400, 2, 2, 1), np.uint8)
    images[:, :, 1] = 255
    return jax.device_put(Resident.of(images, np.arange(400) % 2, 2, SPACE))


def white_on_the_left(images):
    """Whether each of [..., 2, 2, 1] is mirrored, flattened."""
    return np.asarray(images)[..., 0, 0, 0].ravel() > 0


@pytest.mark.parametrize(("flip", "queue_size"), [(True, 0), (True, 200), (False, 0)])
def test_positives_and_unconditional_negatives(white_on_the_right, flip, queue_size):
    settings = Settings(
        classes_per_step=2, num_positives=100, num_unconditional=100,
        queue_size=queue_size, queue_push=400,
    )  # fmt: skip
    extra = {"queue": SampleQueue.create(2, queue_size, SPACE)} if queue_size else {}

    @jax.jit
    def drawn(key):
        given = (white_on_the_right, extra, draws.Keys.of(key), jnp.arange(2))
        return draws.real(settings, 100, flip, *given)[0]

    real = drawn(jax.random.key(0))
    mirrored = [white_on_the_left(x) for x in (real.positives, real.unconditional)]
    assert [len(m) for m in mirrored] == [200, 200]
    if not flip:
        assert not np.any(mirrored)
        return
    assert all(0.35 < m.mean() < 0.65 for m in mirrored)
    assert 0.35 < np.mean(mirrored[0] == mirrored[1]) < 0.65  # drawn apart from each other


def test_the_energy_distance_of_diagnostics_is_to_mirrored_data(white_on_the_right):
    """A generator that has learned the mirrored images is as close to them as they are."""

    def trajectory(state, z, labels):
        mirrored = (jnp.arange(len(labels)) % 2 == 0)[:, None, None, None]
        right = jnp.asarray([[-1.0, 1.0], [-1.0, 1.0]])[None, :, :, None]
        return jnp.where(mirrored, jnp.flip(right, axis=2), right), None

    settings = SimpleNamespace(num_diagnosed=200, rows_r_neq_t=0)
    method = SimpleNamespace(
        settings=settings, space=SPACE, flip=True, trajectory=trajectory, facts=facts.make(SPACE)
    )
    found = diagnostics.measure(method, None, jax.random.key(0), white_on_the_right)
    # Images mirrored or not: 4 apart, so shares p and q are 2 * 4 (p - q)^2 apart.
    assert found["energy_distance"] < 0.1
    assert found["energy_distance_real"] < 0.1

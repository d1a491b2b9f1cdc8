"""A resident set and a streamed batch have the same interface."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import resident
from input_pipeline.data import Data
from input_pipeline.image_set import ImageSet
from input_pipeline.resident import Resident
from input_pipeline.space import Latents, Pixels, Points
from input_pipeline.streaming import Batch

SPACES = [Pixels((2, 2, 1)), Points((2,)), Latents((2, 2, 4))]
COUNT, CLASSES = 12, 3


def stored(space):
    """12 rows; the values of a row are its number, its label is the number modulo 3."""
    rows = np.arange(COUNT).reshape(COUNT, *(1 for _ in space.shape))
    images = np.broadcast_to(rows, (COUNT, *space.shape)).astype(space.dtype)
    return images, np.arange(COUNT, dtype=np.int32) % CLASSES


def whole(space):
    names = tuple("abc")
    return ImageSet(*stored(space), names, "made", "train", space).to_device()


def streamed(space):
    return Batch(*map(jnp.asarray, stored(space)), space)


def rows_of(space, values):
    """The row numbers of values that a model sees; all values of a row must be equal."""
    values = np.asarray(values)
    assert values.dtype == np.float32
    numbers = np.round((values + 1) * 127.5) if isinstance(space, Pixels) else values
    numbers = numbers.reshape(*numbers.shape[: values.ndim - len(space.shape)], -1)
    assert np.all(numbers == numbers[..., :1])
    return numbers[..., 0].astype(int)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("made", [whole, streamed])
def test_both_have_the_same_calls(made, space):
    @jax.jit
    def draws(data, key, step):
        assert data.num_rows == COUNT and data.space == space  # static
        return data.next_batch(key, step, COUNT), data.draw(key, 7), data.fresh(key, COUNT)

    data, key = made(space), jax.random.key(3)
    batch, drawn, fresh = draws(data, key, jnp.int32(5))
    for (values, labels), count in ((batch, COUNT), (drawn, 7)):
        rows = rows_of(space, values)
        assert values.shape == (count, *space.shape) and len(set(rows.tolist())) == count
        np.testing.assert_array_equal(labels, rows % CLASSES)
    assert fresh[0].dtype == space.dtype and fresh[0].shape == (COUNT, *space.shape)
    np.testing.assert_array_equal(fresh[1], np.asarray(fresh[0]).reshape(COUNT, -1)[:, 0] % CLASSES)


@pytest.mark.parametrize("space", SPACES)
def test_a_batch_returns_its_records_in_order(space):
    data, (images, labels) = streamed(space), stored(space)
    for key in map(jax.random.key, range(2)):
        values, found = data.next_batch(key, jnp.int32(9), COUNT)
        np.testing.assert_array_equal(rows_of(space, values), np.arange(COUNT))
        np.testing.assert_array_equal(found, labels)
        np.testing.assert_array_equal(rows_of(space, data.draw(key, 5)[0]), np.arange(5))
        fresh, found = data.fresh(key, 5)
        np.testing.assert_array_equal(fresh, images)
        np.testing.assert_array_equal(found, labels)


def test_a_batch_refuses_what_it_does_not_hold():
    data, key = streamed(SPACES[0]), jax.random.key(0)
    for n in (COUNT - 1, COUNT + 1):
        with pytest.raises(ValueError, match=f"batch has 12 records, not {n}"):
            jax.eval_shape(lambda n=n: data.next_batch(key, jnp.int32(0), n))
    with pytest.raises(ValueError, match="cannot draw 13 records from a streamed batch of 12"):
        jax.eval_shape(lambda: data.draw(key, COUNT + 1))
    with pytest.raises(TypeError, match="no whole class; draw positives from a SampleQueue"):
        jax.eval_shape(lambda: data.positives(key, jnp.arange(2), 1))
    with pytest.raises(TypeError, match="no whole class to go through; set .*streaming=False"):
        jax.eval_shape(lambda: data.next_of_class(key, jnp.asarray(0), 0, 1))


@pytest.mark.parametrize("space", SPACES)
def test_draw_and_fresh_return_the_rows_of_an_independent_formula(space):
    data, key, (images, labels) = whole(space), jax.random.key(8), stored(space)
    rows = np.asarray(resident.distinct_integers(key, 5, jnp.asarray(COUNT)))
    fresh, found = data.fresh(key, 5)
    np.testing.assert_array_equal(fresh, images[rows])
    np.testing.assert_array_equal(found, labels[rows])
    drawn, found = data.draw(key, 5)
    np.testing.assert_array_equal(rows_of(space, drawn), rows)
    np.testing.assert_array_equal(found, labels[rows])
    # The rows of class k are k, k + 3, k + 6, ...
    classes = jnp.asarray([2, 0])
    places = resident.distinct_integers(key, 3, jnp.asarray([4, 4]))
    expected = np.asarray(places) * CLASSES + np.asarray([[2], [0]])
    np.testing.assert_array_equal(rows_of(space, data.positives(key, classes, 3)), expected)


# Draws from twelve numbered images, recorded once: a change here changes the data of all runs.
GOLDEN = {
    "next_batch": [3, 8, 6, 11, 1, 10, 5],
    "draw": [3, 4, 0, 10, 11, 5, 2],
    "positives": [[10, 1, 7], [8, 11, 5]],
}


def test_draws_have_not_changed():
    data, key = whole(SPACES[0]), jax.random.key(42)
    batch, drawn = data.next_batch(key, jnp.int32(4), 7)[0], data.draw(key, 7)[0]
    positives = data.positives(key, jnp.asarray([1, 2]), 3)
    found = {"next_batch": batch, "draw": drawn, "positives": positives}
    assert {name: rows_of(SPACES[0], values).tolist() for name, values in found.items()} == GOLDEN


@pytest.mark.parametrize("kind", [Resident, Batch])
def test_calls_have_the_same_signature(kind):
    for name in Data.__abstractmethods__:
        wanted, given = (inspect.signature(getattr(k, name)) for k in (Data, kind))
        assert given == wanted, name


def test_the_space_is_a_static_part():
    leaves, structure = jax.tree.flatten(streamed(SPACES[0]))
    assert len(leaves) == 2
    other = jax.tree.structure(streamed(SPACES[1]))
    assert structure != other and jax.tree.unflatten(structure, leaves).space == SPACES[0]

"""Kinds of samples: stored, seen by a model, shown, and written to JSON."""

import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import space as spaces
from input_pipeline.space import Arrays, Latents, Pixels, Points

PIXELS, POINTS, LATENTS = Pixels((2, 3, 1)), Points((2,)), Latents((2, 2, 4))
EVERY = (PIXELS, POINTS, LATENTS)


def stored(space, count=5):
    generator = np.random.default_rng(0)
    if space is PIXELS:
        return generator.integers(0, 256, (count, *space.shape), np.uint8)
    return generator.normal(0, 4, (count, *space.shape)).astype(np.float32)


@pytest.mark.parametrize("space", EVERY)
def test_to_stored_inverts_to_model(space):
    values = stored(space)
    seen = space.to_model(jnp.asarray(values))
    assert seen.dtype == jnp.float32 and seen.shape == values.shape
    expected = values / 127.5 - 1 if space is PIXELS else values
    np.testing.assert_allclose(seen, expected, rtol=1e-6, atol=1e-6)
    back = space.to_stored(seen)
    assert back.dtype == space.dtype
    np.testing.assert_array_equal(back, values)


def test_pixels_are_rounded_and_clipped_and_other_values_are_neither():
    values = jnp.asarray([-3.0, 3.0, 0.004], jnp.bfloat16)
    np.testing.assert_array_equal(PIXELS.to_stored(values), [0, 255, 128])
    np.testing.assert_array_equal(POINTS.to_stored(values), values.astype(jnp.float32))
    assert LATENTS.to_stored(values).dtype == jnp.float32


@pytest.mark.parametrize("space", EVERY)
def test_an_array_is_held_by_its_own_kind_of_any_size(space):
    values = stored(space)
    assert [other.holds(values) for other in EVERY] == [other is space for other in EVERY]
    assert space.holds(np.repeat(values, 2, axis=1))
    assert not space.holds(values[0]) and not space.holds(values.astype(np.int32))


@pytest.mark.parametrize("space", EVERY)
def test_json_gives_the_space_back(space):
    values = space.to_json()
    assert values == {"kind": space.kind, "shape": list(space.shape)}
    assert spaces.from_json(values) == space
    assert hash(spaces.from_json(values)) == hash(space)  # a static part of jitted programs


def test_spaces_of_one_shape_differ_by_kind_and_other_json_is_refused():
    assert len({Pixels((2, 2, 4)), LATENTS, Points((2, 2, 4)), Pixels((2, 2, 4))}) == 3
    for values in ({"kind": "sound", "shape": [2]}, {"kind": "points"}, {}):
        with pytest.raises(KeyError):
            spaces.from_json(values)
    with pytest.raises(TypeError):
        spaces.from_json({"kind": "points", "shape": None})


def test_sizes_and_channels():
    assert [space.size for space in EVERY] == [6, 2, 16]
    assert [space.channels for space in EVERY] == [1, 2, 4]
    assert [space.mirrors for space in EVERY] == [True, False, True]
    assert [space.reverses for space in EVERY] == [True, False, False]
    assert Arrays((2, 3, 5)).mirrors and Arrays((2, 3, 5)).reverses


@pytest.mark.parametrize("space", EVERY)
def test_vectors_for_distances(space):
    values = stored(space)
    vectors = space.to_vectors(jnp.asarray(values))
    assert vectors.dtype == jnp.float32
    expected = values.reshape(5, -1) / (255 if space is PIXELS else 1)
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)


@pytest.mark.parametrize("space", [PIXELS, POINTS])
def test_images_and_points_are_shown_unchanged(space):
    values = space.to_model(jnp.asarray(stored(space)))
    assert space.to_picture(values) is values


def test_latents_are_shown_in_false_colours_without_a_decoder():
    values = stored(LATENTS).reshape(1, 5, *LATENTS.shape)
    shown = LATENTS.to_picture(jnp.asarray(values))
    np.testing.assert_allclose(shown, values[..., :3] / 3, rtol=1e-6)
    assert LATENTS.shown == Pixels((2, 2, 3)) and Latents((2, 2, 1)).shown == Pixels((2, 2, 1))
    assert (PIXELS.shown, POINTS.shown) == (PIXELS, POINTS)


def test_latents_are_shown_decoded_with_the_frozen_parameters():
    def decoder(scale, latents):
        assert latents.ndim == 4
        return scale * jnp.repeat(jnp.repeat(latents[..., :3], 2, axis=1), 2, axis=2)

    space = Latents(LATENTS.shape, decoder, Pixels((4, 4, 3)))
    assert space.shown == Pixels((4, 4, 3))
    values = stored(space, 6).reshape(2, 3, *space.shape)
    shown = space.to_picture(jnp.asarray(values), {"autoencoder": 0.5, "encoder": None})
    assert shown.shape == (2, 3, 4, 4, 3)
    np.testing.assert_allclose(shown[:, :, 1::2, ::2], 0.5 * values[..., :3], rtol=1e-6)
    assert space != LATENTS and spaces.from_json(space.to_json()) == LATENTS

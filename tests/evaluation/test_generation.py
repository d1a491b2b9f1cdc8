import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.core.errors import UserError
from drifting.evaluation.generation import (
    NonFiniteSamples,
    SampleProgram,
    class_balanced_labels,
    generate_images,
)
from input_pipeline.space import Latents, Pixels, Points

SHAPE = (4, 4, 1)
SPACE = Pixels(SHAPE)


def noisy(state, key, labels):
    noise = jax.random.uniform(key, (len(labels), *SHAPE), minval=-0.1, maxval=0.1)
    return state["scale"] * (labels[:, None, None, None] / 5.0 - 1.0 + noise)


def make(program, labels, scale=1.0, batch_size=8, seed=0):
    state = {"scale": jnp.float32(scale)}
    return generate_images(program, state, labels, jax.random.key(seed), batch_size, False)


@pytest.mark.parametrize(
    ("num", "counts", "expected"),
    [
        (10, [5, 5], [5, 5]),
        (7, [1, 1, 1], [3, 2, 2]),  # equal remainders: lower labels first
        (10, [51, 28, 21], [5, 3, 2]),
        (3, [0, 10], [0, 3]),
        (0, [1, 2], [0, 0]),
        (50_000, [6000] * 10, [5000] * 10),
        (2, [1, 1000], [0, 2]),
    ],
)
def test_labels_have_the_class_frequencies(num, counts, expected):
    labels = class_balanced_labels(num, counts)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(np.bincount(labels, minlength=len(counts)), expected)
    np.testing.assert_array_equal(labels, class_balanced_labels(num, counts))


def test_any_first_part_of_the_labels_is_nearly_in_proportion():
    counts = np.array([600, 300, 100])
    labels = class_balanced_labels(1000, counts)
    for part in (10, 50, 333, 900):
        np.testing.assert_allclose(np.bincount(labels[:part]), part * counts / 1000, atol=1.5)


@pytest.mark.parametrize(("num", "counts"), [(-1, [1]), (5, [0, 0]), (5, [3, -1]), (5, [])])
def test_labels_of_nothing_are_refused(num, counts):
    with pytest.raises(ValueError, match="need num >= 0 and counts with a positive sum"):
        class_balanced_labels(num, counts)


@pytest.mark.parametrize("num", [1, 8, 19, 24])
def test_batch_b_is_generated_from_fold_in_b_and_the_last_is_cut(num):
    labels = class_balanced_labels(num, [1] * 10)
    images = make(SampleProgram(noisy, SPACE), labels)
    assert images.shape == (num, *SHAPE) and images.dtype == np.uint8
    padded = np.concatenate([labels, np.repeat(labels[-1], -num % 8)])
    for batch in range(len(padded) // 8):
        part = slice(8 * batch, 8 * batch + 8)
        key = jax.random.fold_in(jax.random.key(0), batch)
        values = np.asarray(noisy({"scale": 1.0}, key, padded[part]))
        expected = np.clip(np.round(127.5 * values + 127.5), 0, 255)[: num - 8 * batch]
        # One level: a fused program may round a value halfway between two the other way.
        np.testing.assert_allclose(images[part].astype(float), expected, atol=1)
    assert not np.array_equal(make(SampleProgram(noisy, SPACE), labels, seed=1), images)


def test_one_trace_serves_all_checkpoints_and_sizes():
    traces = []

    def counted(state, key, labels):
        traces.append(labels.shape)
        return noisy(state, key, labels)

    program = SampleProgram(counted, SPACE)
    first = make(program, np.arange(10).repeat(3), scale=1.0)
    second = make(program, np.arange(5), scale=0.5)
    assert traces == [(8,)]
    assert np.abs(first[:5].astype(int) - second).max() > 20  # the state is not a constant


def test_the_next_batch_is_dispatched_before_the_last_is_handed_over(monkeypatch):
    program = SampleProgram(noisy, SPACE)
    run, dispatched = program._run, []

    def watched(state, key, batch, *others):
        dispatched.append(int(batch))
        return run(state, key, batch, *others)

    monkeypatch.setattr(program, "_run", watched)
    batches = program.batches({"scale": 1.0}, jax.random.key(0), np.zeros(24, np.int32), 8)
    seen = [list(dispatched) for _ in batches]
    assert seen == [[0, 1], [0, 1, 2], [0, 1, 2]]


def test_points_keep_their_values():
    def generate(state, key, labels):
        return state["scale"] * (labels[:, None] + jax.random.normal(key, (len(labels), 2)))

    labels = np.arange(11, dtype=np.int32)
    program = SampleProgram(generate, Points((2,)))
    points = make(program, labels)
    assert points.dtype == np.float32 and points.shape == (11, 2)
    first = generate({"scale": 1.0}, jax.random.fold_in(jax.random.key(0), 0), labels[:8])
    np.testing.assert_allclose(points[:8], first, rtol=1e-6)
    with pytest.raises(NonFiniteSamples, match="8 of 8 samples"):
        make(program, labels, scale=np.inf)


def nan_for_label_three(state, key, labels):
    images = noisy(state, key, labels)
    bad = jnp.where(labels == 3, jnp.nan, jnp.where(labels == 4, jnp.inf, 0.0))
    return images.at[:, 0, 0, 0].add(bad)


def test_nonfinite_samples_are_refused_with_their_count():
    program = SampleProgram(nan_for_label_three, SPACE)
    labels = np.array([0] * 8 + [3, 0, 4, 3, 0], np.int32)
    with pytest.raises(NonFiniteSamples, match=r"3 of 5 samples .*\(samples 8 to 12\)"):
        make(program, labels)
    with pytest.raises(NonFiniteSamples, match="1 of 1 samples"):  # padding is not counted
        make(program, np.array([3]))
    assert issubclass(NonFiniteSamples, UserError)
    make(program, labels[:8])


def test_latents_are_refused_before_a_decoder_hides_that_they_are_nan():
    def decoder(parameters, latents):
        return jnp.where(jnp.isfinite(latents), latents, 0.0) * parameters

    space, frozen = Latents(SHAPE, decoder, SPACE), {"autoencoder": jnp.float32(2.0)}
    program = SampleProgram(nan_for_label_three, space, frozen=frozen)
    assert program.shown == SPACE
    plain = make(SampleProgram(noisy, SPACE), np.zeros(8, np.int32), scale=0.5)
    decoded = make(program, np.zeros(8, np.int32), scale=0.25)
    np.testing.assert_array_equal(decoded, plain)
    with pytest.raises(NonFiniteSamples, match="1 of 2 samples"):
        make(program, np.array([3, 1]), scale=0.25)
    program = SampleProgram(noisy, space, frozen={"autoencoder": jnp.float32(jnp.inf)})
    with pytest.raises(NonFiniteSamples, match="2 of 2 samples"):
        make(program, np.array([3, 1]), scale=0.25)


def test_senseless_sizes_are_refused():
    with pytest.raises(ValueError, match="no labels"):
        make(SampleProgram(noisy, SPACE), np.zeros(0, np.int32))
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        make(SampleProgram(noisy, SPACE), np.zeros(3, np.int32), batch_size=0)


def test_progress_shows_a_rate(capsys):
    state = {"scale": jnp.float32(1.0)}
    labels = np.zeros(20, np.int32)
    generate_images(SampleProgram(noisy, SPACE), state, labels, jax.random.key(0), 8)
    shown = capsys.readouterr().err
    assert "20/20" in shown and "image/s" in shown

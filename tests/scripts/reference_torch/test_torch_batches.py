"""The batches of the PyTorch loop: their order, augmentation and standardisation."""

import jax.numpy as jnp
import numpy as np
import pytest

from drifting.methods import classifier
from drifting.runs import build
from input_pipeline import sources

torch = pytest.importorskip("torch")
batches = pytest.importorskip("reference_torch.batches")


@pytest.fixture(scope="module")
def digits():
    return sources.load("digits", "test", image_size=8, channels=1)  # 300 images


def test_every_epoch_is_another_permutation_and_drops_nothing(digits):
    stream = batches.Stream(digits, 64, 5, torch.device("cpu"))
    rows = np.concatenate([stream.rows(step) for step in range(75)])  # 16 epochs of 300
    epochs = rows.reshape(16, 300)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(300), (16, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 16
    again = batches.Stream(digits, 64, 5, torch.device("cpu"))
    np.testing.assert_array_equal(again.rows(40), rows[40 * 64 : 41 * 64])
    other = batches.Stream(digits, 64, 6, torch.device("cpu"))
    assert not np.array_equal(other.rows(0), rows[:64])
    images, labels = stream.batch(40)
    np.testing.assert_array_equal(images, digits.images[rows[40 * 64 : 41 * 64]])
    np.testing.assert_array_equal(labels, digits.labels[rows[40 * 64 : 41 * 64]])


def test_a_batch_may_be_larger_than_an_epoch(digits):
    rows = batches.Stream(digits, 700, 5, torch.device("cpu")).rows(0)
    np.testing.assert_array_equal(np.bincount(rows[:600]), 2)
    assert len(rows) == 700


def test_all_windows_and_both_sides_are_equally_likely():
    torch.manual_seed(0)
    image = 1 + torch.arange(3 * 3 * 2, dtype=torch.uint8).reshape(1, 3, 3, 2)
    found = batches.augmented(image.repeat(4500, 1, 1, 1), 1, True).numpy()
    padded = np.pad(image[0], ((1, 1), (1, 1), (0, 0)))  # black is 0
    windows = [padded[i : i + 3, j : j + 3] for i in range(3) for j in range(3)]
    windows += [window[:, ::-1] for window in windows]
    counts = [sum(np.array_equal(a, window) for a in found) for window in windows]
    assert sum(counts) == 4500 and min(counts) > 190 and max(counts) < 310
    np.testing.assert_array_equal(batches.augmented(image, 0, False), image)


def test_values_are_those_that_our_networks_see(digits):
    facts = build.facts_of(digits)
    channels = {"mean": jnp.asarray(facts.mean), "std": jnp.asarray(facts.std)}
    expected = classifier.standardized(digits.space.to_model(digits.images[:9]), channels)
    found = batches.standardised(torch.from_numpy(digits.images[:9]), facts)
    assert found.shape == (9, 1, 8, 8)
    np.testing.assert_allclose(found.permute(0, 2, 3, 1), expected, atol=1e-6)

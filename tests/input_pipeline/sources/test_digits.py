"""scikit-learn's digits: split, padding and resizing."""

import numpy as np
import pytest

from input_pipeline.sources import DataError, load


def test_digits_are_split_by_class():
    train = load("digits", "train", image_size=8, channels=1)
    test = load("digits", "test", image_size=8, channels=1)
    assert train.images.shape == (1497, 8, 8, 1) and test.images.shape == (300, 8, 8, 1)
    assert train.images.dtype == np.uint8 and train.images.max() == 255
    assert np.bincount(test.labels).min() >= 29
    rows = {x.tobytes() for x in train.images}
    assert sum(x.tobytes() in rows for x in test.images) == 0
    assert train.fingerprint != test.fingerprint


def test_digits_padded_and_resized():
    padded = load("digits", "test", image_size=12, channels=3, fit="pad")
    plain = load("digits", "test", image_size=8, channels=1)
    assert padded.images.shape == (300, 12, 12, 3)
    np.testing.assert_array_equal(padded.images[:, 2:10, 2:10, 1], plain.images[..., 0])
    assert padded.images[:, :2].max() == 0
    assert load("digits", "test", image_size=16, channels=1).images.shape == (300, 16, 16, 1)
    with pytest.raises(DataError, match="cannot be padded"):
        load("digits", "test", image_size=4, channels=1, fit="pad")


def test_inverted_digits_are_ten_further_classes():
    plain = load("digits", "test", image_size=8, channels=1)
    both = load("digits:inverted", "test", image_size=8, channels=1)
    assert both.class_names[:10] == plain.class_names and both.class_names[13] == "3 inverted"
    np.testing.assert_array_equal(both.images[:300], plain.images)
    np.testing.assert_array_equal(both.images[300:], 255 - plain.images)
    np.testing.assert_array_equal(both.labels, np.concatenate([plain.labels, 10 + plain.labels]))
    with pytest.raises(DataError, match="'digits:invert' is not 'digits' or 'digits:inverted'"):
        load("digits:invert", "test", image_size=8, channels=1)

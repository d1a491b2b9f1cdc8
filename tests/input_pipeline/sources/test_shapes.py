"""Drawn shapes: determinism, areas and edges; and the set to memorise."""

import numpy as np
import pytest

from input_pipeline.sources import DataError, load, shapes


def test_splits():
    train = load("shapes", "train", image_size=8, channels=3)
    test = load("shapes", "test", image_size=8, channels=3)
    assert train.images.shape == (5000, 8, 8, 3) and test.images.shape == (1000, 8, 8, 3)
    assert train.images.dtype == np.uint8 and train.class_names == shapes.CLASSES
    assert np.bincount(train.labels).tolist() == [1000] * 5
    rows = set(map(bytes, train.images))
    assert len(rows) == 5000 and not rows & set(map(bytes, test.images))


def test_an_image_depends_only_on_split_and_number(monkeypatch):
    many = shapes.render("train", 60, 16)
    monkeypatch.setattr(shapes, "CHUNK_PIXELS", 7 * 16 * 16)  # several parts, the last not full
    np.testing.assert_array_equal(shapes.render("train", 25, 16), many[:25])


def test_a_small_image_is_a_large_one_averaged():
    """Antialiased: without it, a pixel on an edge is off by up to 140 levels."""
    large = shapes.render("test", 50, 128).astype(np.float64)
    averaged = large.reshape(50, 16, 8, 16, 8, 3).mean(axis=(2, 4))
    error = np.abs(averaged - shapes.render("test", 50, 16))
    assert error.mean() < 1.0 and np.percentile(error, 99.5) < 25


def test_shapes_have_their_areas_on_plain_backgrounds():
    images = shapes.render("train", 2000, 48).astype(np.float64)
    background = images[:, 0, 0]
    for corner in ((0, -1), (-1, 0), (-1, -1)):
        np.testing.assert_array_equal(images[:, *corner], background)
    gap = np.abs(images - background[:, None, None]).sum(axis=-1)
    area = (gap / gap.max(axis=(1, 2), keepdims=True)).mean(axis=(1, 2))
    arm, width = np.sqrt(1 - 0.3**2), 0.3
    # For a circumcircle of radius 1; the radii of all classes have the same distribution.
    expected = np.array([
        np.pi, 2.0, 3 * np.sqrt(3) / 4, 4 * width * (2 * arm - width), np.pi * (1 - 0.6**2),
    ])  # fmt: skip
    found = np.array([area[k::5].mean() for k in range(5)])
    np.testing.assert_allclose(found / found[0], expected / expected[0], rtol=0.08)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_shape_stands_out_at_any_size(channels):
    images = load("shapes", "test", image_size=12, channels=channels).images
    assert images.shape == (1000, 12, 12, channels)
    contrast = np.ptp(images.astype(int), axis=(1, 2)).max(axis=-1)
    assert contrast.min() > 35


def test_overfit_has_the_first_images_each_its_own_class():
    train = load("overfit:7", "train", image_size=16, channels=3)
    test = load("overfit:7", "test", image_size=16, channels=3)
    np.testing.assert_array_equal(train.images, test.images)
    np.testing.assert_array_equal(train.images, shapes.render("train", 7, 16))
    assert train.labels.tolist() == list(range(7)) == test.labels.tolist()
    assert train.class_names[:2] == ("circle 0", "square 1") and train.num_classes == 7
    other = load("overfit:8", "train", image_size=16, channels=3)
    assert other.fingerprint != train.fingerprint


@pytest.mark.parametrize(
    "source,message",
    [
        ("overfit:0", "'overfit:<n>' with n, .* from 1 to 5000"),
        ("overfit:5001", "1 to 5000"),
        ("overfit", "1 to 5000"),
        ("overfit:-3", "1 to 5000"),
        ("shapes:5", "config.data.source = 'shapes'"),
    ],
)
def test_invalid_sources_are_refused(source, message):
    with pytest.raises(DataError, match=message):
        load(source, image_size=8, channels=1)

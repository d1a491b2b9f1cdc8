"""Two synthetic styles: disjoint scenes, and a known function from one style to the other."""

import numpy as np
import pytest

from input_pipeline.sources import DataError, load, styles


@pytest.fixture(scope="module")
def drawn():
    """The images of each class of the test split, drawn without the cache."""
    both = [styles.scenes(name, "test", 200, 32) for name in styles.CLASSES]
    return both[0], styles.restyle(both[1])


def unit(images):
    return images / 127.5 - 1


def test_splits_and_classes(monkeypatch):
    monkeypatch.setattr(styles, "SIZES", {"train": 60, "test": 20})
    train = load("styles", image_size=12, channels=3)
    test = load("styles", "test", image_size=12, channels=3)
    assert train.images.shape == (60, 12, 12, 3) and train.class_names == ("plain", "styled")
    assert train.class_counts == (30, 30) and test.class_counts == (10, 10)
    np.testing.assert_array_equal(
        train.images[train.labels == 0], styles.scenes("plain", "train", 30, 12)
    )
    np.testing.assert_array_equal(
        test.images[test.labels == 1], styles.restyle(styles.scenes("styled", "test", 10, 12))
    )


def test_no_scene_is_in_both_styles_or_splits():
    scenes = [
        styles.scenes(name, split, 300, 16)
        for name in styles.CLASSES
        for split in ("train", "test")
    ]
    assert len({image.tobytes() for images in scenes for image in images}) == 4 * 300


def test_the_restyled_image_is_darker_with_red_and_blue_exchanged():
    values = np.arange(256, dtype=np.uint8)
    found = styles.restyle(values[:, None])[:, 0]
    assert found.dtype == np.uint8 and found[[0, 51, 255]].tolist() == [0, 17, 230]
    np.testing.assert_allclose(found / 255, 0.9 * (values / 255) ** 1.6, atol=0.5 / 255 + 1e-9)
    assert np.all(np.diff(found.astype(int)) >= 0)  # nothing of the scene is lost but by rounding
    assert len(np.unique(found)) > 190
    assert styles.restyle(np.uint8([[255, 51, 0]])).tolist() == [[0, 17, 230]]


def test_the_styles_differ_and_one_is_taken_to_the_other(drawn):
    plain, styled = drawn
    restyled = styles.restyle(plain)
    assert np.abs(unit(plain) - unit(restyled)).mean(axis=(1, 2, 3)).min() > 0.4
    # Warm against cold: red over blue in the mean of every image.
    warmth = [np.mean(x[..., 0] - x[..., 2].astype(float), axis=(1, 2)) for x in drawn]
    assert warmth[0].min() > 40 and warmth[1].max() < -40
    # Restyled and styled images are of one distribution.
    for of in (np.mean, np.std):
        np.testing.assert_allclose(
            of(restyled, axis=(0, 1, 2)), of(styled, axis=(0, 1, 2)), rtol=0.1
        )
    # Neither a picture without structure nor one with red and blue exchanged alone is three times
    # as close to the truth as the input is.
    constant, exchanged = np.median(unit(styled), axis=(0, 1, 2)), unit(plain)[..., ::-1]
    distances = [
        np.abs(unit(restyled) - other).mean() for other in (unit(plain), constant, exchanged)
    ]
    assert distances == pytest.approx([0.60, 0.33, 0.325], abs=0.02)


def test_the_translation_is_known_for_grey_images_too(monkeypatch):
    monkeypatch.setattr(styles, "SIZES", {"train": 8, "test": 8})
    images = load("styles", image_size=8, channels=1).images
    scenes = styles.scenes("styled", "train", 4, 8)
    grey = np.round(scenes @ np.asarray([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]
    np.testing.assert_array_equal(images[1::2], styles.restyle(grey))


def test_invalid_names_are_refused():
    with pytest.raises(DataError, match="set config.data.source = 'styles'"):
        load("styles:3", image_size=8, channels=3)

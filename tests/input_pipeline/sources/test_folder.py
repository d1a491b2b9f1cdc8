"""Folders of image files, flat or by class, whole and damaged."""

import numpy as np
import pytest
from PIL import Image

from input_pipeline.sources import DataError, load


def test_folder_with_classes(folder):
    found = load(f"folder:{folder}", image_size=8, channels=3)
    assert found.class_names == ("cat", "dog")
    assert found.labels.tolist() == [0, 0, 1, 1, 1]
    untouched = np.asarray(Image.open(folder / "cat" / "1.png"))
    np.testing.assert_array_equal(found.images[1], untouched)
    assert load(f"folder:{folder}", image_size=8, channels=1).images.shape == (5, 8, 8, 1)


def test_flat_folder_in_natural_order(tmp_path):
    for i in (10, 2, 1):
        Image.new("L", (4, 4), i).save(tmp_path / f"{i}.png")
    found = load(f"folder:{tmp_path}", image_size=4, channels=1)
    assert found.images[:, 0, 0, 0].tolist() == [1, 2, 10] and found.num_classes == 1
    with pytest.raises(DataError, match="no sub-folder 'test', so its only split is 'train'"):
        load(f"folder:{tmp_path}", "test", image_size=4, channels=1)


def test_a_corrupt_image_is_named(folder):
    bad = folder / "cat" / "7.png"
    bad.write_bytes(b"\x89PNG not really")
    with pytest.raises(DataError, match="7.png.*on_corrupt='skip'"):
        load(f"folder:{folder}", image_size=8, channels=3)
    with pytest.warns(UserWarning, match="1 unreadable images: .*7.png"):
        found = load(f"folder:{folder}", image_size=8, channels=3, on_corrupt="skip")
    assert len(found) == 5


def test_a_truncated_image_is_corrupt(folder):
    path = folder / "cat" / "0.png"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="0.png"):
        load(f"folder:{folder}", image_size=8, channels=3)


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="no images in"):
        load(f"folder:{tmp_path}", image_size=8, channels=1)

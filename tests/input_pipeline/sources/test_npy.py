"""Folders of npy files, whole and unusable."""

import numpy as np
import pytest

from input_pipeline.sources import DataError, load


@pytest.fixture
def npy(tmp_path):
    images = np.arange(3 * 48, dtype=np.uint8).reshape(3, 4, 4, 3)
    np.save(tmp_path / "test_images.npy", images)
    np.save(tmp_path / "test_labels.npy", np.asarray([2, 0, 1], np.int64))
    return tmp_path


def test_npy_of_the_right_size_stays_on_disk(npy):
    found = load(f"npy:{npy}", "test", image_size=4, channels=3)
    np.testing.assert_array_equal(found.images, np.load(npy / "test_images.npy"))
    assert found.labels.tolist() == [2, 0, 1] and found.labels.dtype == np.int32
    assert found.class_names == ("0", "1", "2")
    base = found.images
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert base is not None  # a view of the file, not a copy
    assert not (npy / "cache").exists()
    assert load(f"npy:{npy}", "test", image_size=2, channels=1).images.shape == (3, 2, 2, 1)
    with pytest.raises(DataError, match="no file .*train_images.npy; .*<split>_images.npy"):
        load(f"npy:{npy}", "train", image_size=4, channels=3)


@pytest.mark.parametrize(
    "name,array,message",
    [
        ("images", np.zeros((3, 4, 4, 3), np.float32), "images are float32"),
        ("images", np.zeros((2, 4, 4, 3), np.uint8), "2 samples but 3 labels"),
        ("images", np.asarray([{}] * 3, object), "images are object"),
        ("labels", np.zeros(3), "labels are float64"),
        ("labels", np.asarray([0, -1, 2]), "labels are -1 to 2, but must be at least 0"),
        ("labels", np.zeros((3, 1), int), "expected integers .*save labels"),
    ],
)
def test_unusable_npy(npy, name, array, message):
    np.save(npy / f"test_{name}.npy", array)
    with pytest.raises(DataError, match=message):
        load(f"npy:{npy}", "test", image_size=4, channels=3)


def test_npy_files_of_another_kind(npy, tmp_path):
    path = npy / "test_images.npy"
    for content in (path.read_bytes()[:-7], b"", b"PK\x03\x04 a zip", b"\x80\x04]."):
        path.write_bytes(content)
        with pytest.raises(DataError, match="test_images.npy cannot be read.* with np.save"):
            load(f"npy:{npy}", "test", image_size=4, channels=3)

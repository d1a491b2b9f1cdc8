"""npz files, whole and unusable."""

import numpy as np
import pytest

from input_pipeline.sources import DataError, load


def test_npz(tmp_path):
    path = tmp_path / "set.npz"
    images = np.arange(4 * 16, dtype=np.uint8).reshape(4, 4, 4)
    np.savez(path, images=images, labels=[0, 2, 1, 2])
    found = load(f"npz:{path}", image_size=4, channels=1)
    np.testing.assert_array_equal(found.images[..., 0], images)
    assert found.num_classes == 3
    with pytest.raises(DataError, match="no split 'test'.*'test_images'.*holds"):
        load(f"npz:{path}", "test", image_size=4, channels=1)


@pytest.mark.parametrize(
    "arrays,message",
    [
        (dict(pictures=np.zeros((2, 4, 4, 3), np.uint8)), "holds \\['pictures'\\]"),
        (dict(images=np.zeros((2, 4, 4, 3))), "float64"),
        (dict(images=np.zeros((2, 4, 4, 3), np.uint8), labels=[0]), "2 samples but 1 labels"),
    ],
)
def test_unusable_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load(f"npz:{tmp_path / 'bad.npz'}", image_size=4, channels=3)

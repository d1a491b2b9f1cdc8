"""The cache of decoded arrays: decoding once, concurrent use, changed and damaged files."""

import time
from concurrent import futures

import numpy as np
import pytest
from PIL import Image

from input_pipeline import cache, fit
from input_pipeline.sources import load

pytestmark = pytest.mark.usefixtures("own_cache")


def test_decoded_once_and_again_when_a_file_changes(folder, monkeypatch):
    calls = []
    real = fit.fit_image
    monkeypatch.setattr(fit, "fit_image", lambda *a: calls.append(1) or real(*a))
    first = load(f"folder:{folder}", image_size=8, channels=3)
    assert len(calls) == 5
    second = load(f"folder:{folder}", image_size=8, channels=3)
    assert len(calls) == 5 and second.fingerprint == first.fingerprint
    np.testing.assert_array_equal(first.images, second.images)
    Image.new("RGB", (9, 9), (1, 2, 3)).save(folder / "dog" / "0.png")
    third = load(f"folder:{folder}", image_size=8, channels=3)
    assert len(calls) == 10 and third.fingerprint != first.fingerprint
    assert third.images[2, 0, 0].tolist() == [1, 2, 3]


def test_concurrent_users_decode_once():
    calls = []

    def decode():
        calls.append(1)
        time.sleep(0.2)
        return np.ones((1, 2, 2, 1), np.uint8), np.zeros(1, np.int32)

    with futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cache.decoded("key", decode), range(4)))
    assert len(calls) == 1
    assert all(images.sum() == 4 for images, _ in found)


def test_a_damaged_cache_file_is_replaced(folder, tmp_path):
    first = load(f"folder:{folder}", image_size=8, channels=3)
    (cached,) = (tmp_path / "cache" / "decoded").glob("*.npz")
    cached.write_bytes(cached.read_bytes()[:100])
    again = load(f"folder:{folder}", image_size=8, channels=3)
    np.testing.assert_array_equal(first.images, again.images)

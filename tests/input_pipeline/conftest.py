import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache of decoded arrays of the test's own, in `tmp_path / "cache"`."""
    monkeypatch.setenv("DRIFTING_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """Two classes, images of several sizes and modes, and a file that is no image."""
    rng = np.random.default_rng(0)
    for label, sizes in {"cat": [(20, 30), (8, 8)], "dog": [(9, 9)] * 3}.items():
        (tmp_path / "set" / label).mkdir(parents=True)
        for i, size in enumerate(sizes):
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / label / f"{i}.png")
    (tmp_path / "set" / "dog" / "notes.txt").write_text("not an image")
    return tmp_path / "set"

"""Statistics are those of the pixels, whatever the files are called."""

import os

import numpy as np
import pytest
from PIL import Image

import drifting


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """`dark`, `light` and `fake` have equal names, sizes and times; fakes are like `light`."""
    monkeypatch.setenv("DRIFTING_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for name, grey in (("dark", 60), ("light", 190), ("fake", 190)):
        (tmp_path / name).mkdir()
        for i in range(30):
            path = tmp_path / name / f"{i}.bmp"
            pixels = np.clip(rng.normal(grey, 20, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path)
            os.utime(path, (315532800, 315532800))
    return tmp_path


@pytest.mark.filterwarnings("ignore")
def test_another_folder_has_another_score(folders):
    def distance(real):
        row = drifting.compare(
            folders / real, folders / "fake", features="pixels", metrics=("fid",), batch_size=30
        )
        return row["frechet_distance"]

    # Nearly all of the distance to `dark` is that of the means, 130 / 255 in each of 192 pixels.
    assert distance("dark") == pytest.approx(192 * (130 / 255) ** 2 + distance("light"), rel=0.03)
    assert distance("light") == pytest.approx(1.67, abs=0.2)

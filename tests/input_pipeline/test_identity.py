"""Data are known by what they are, not by their names, sizes and times."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from input_pipeline import streaming
from input_pipeline.sources import load, open_stream

pytestmark = pytest.mark.usefixtures("own_cache")
LONG_AGO = (315532800, 315532800)  # the time of every file in a reproducible archive


def put(folder, grey, count=3):
    """Bitmaps of one size, so that files of other pixels are as long."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new("RGB", (8, 8), (grey,) * 3).save(folder / f"{i}.bmp")
        os.utime(folder / f"{i}.bmp", LONG_AGO)
    return folder


def mean_of(source):
    return load(source, image_size=8, channels=3).images.mean()


def test_folders_of_equal_names_sizes_and_times_keep_their_own_pixels(tmp_path):
    dark, light = put(tmp_path / "dark", 60), put(tmp_path / "light", 190)
    assert [mean_of(f"folder:{path}") for path in (dark, light, dark)] == [60, 190, 60]


def test_a_relative_folder_is_that_of_the_current_one(tmp_path, monkeypatch):
    for name, grey in (("a", 60), ("b", 190)):
        put(tmp_path / name / "data", grey)
        monkeypatch.chdir(tmp_path / name)
        assert mean_of("folder:data") == grey


def test_a_folder_that_another_took_the_place_of(tmp_path):
    old, new = put(tmp_path / "data", 60), put(tmp_path / "new", 190)
    assert mean_of(f"folder:{old}") == 60
    shutil.rmtree(old)
    new.rename(old)
    assert mean_of(f"folder:{old}") == 190
    put(old, 120)  # the same files, written again with the old times
    assert mean_of(f"folder:{old}") == 120


@pytest.mark.parametrize("source", ["npz", "npy"])
def test_array_files_of_equal_sizes_and_times(tmp_path, source):
    for name, grey in (("a", 60), ("b", 190)):
        folder = tmp_path / name
        folder.mkdir()
        images, labels = np.full((3, 4, 4, 3), grey, np.uint8), np.zeros(3, int)
        np.savez(folder / "set.npz", images=images, labels=labels)
        np.save(folder / "train_images.npy", images)
        np.save(folder / "train_labels.npy", labels)
        for path in folder.iterdir():
            os.utime(path, LONG_AGO)
        place = folder / "set.npz" if source == "npz" else folder
        assert mean_of(f"{source}:{place}") == grey


# --- fingerprints --------------------------------------------------------------------------------


def test_a_copy_elsewhere_has_the_same_fingerprint(folder, tmp_path):
    """Another path, inode and time; but another pixel, label or order is another set."""
    shutil.copytree(folder, tmp_path / "copy")
    here, there = (
        load(f"folder:{f}", image_size=8, channels=3) for f in (folder, tmp_path / "copy")
    )
    assert here.fingerprint == there.fingerprint
    shutil.move(tmp_path / "copy" / "cat" / "0.png", tmp_path / "copy" / "dog" / "9.png")
    other = load(f"folder:{tmp_path / 'copy'}", image_size=8, channels=3)
    assert other.fingerprint != here.fingerprint


def test_the_fingerprint_of_a_stream_follows_from_its_records(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "SAMPLED", 4)
    images = np.tile(np.arange(10, dtype=np.uint8)[:, None, None, None], (1, 4, 4, 3))

    def opened(name, images, labels):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "train_images.npy", images)
        np.save(tmp_path / name / "train_labels.npy", labels)
        return open_stream(f"npy:{tmp_path / name}", image_size=4, channels=3, threads=2)

    first = opened("a", images, np.arange(10))
    assert first.fingerprint == opened("b", images, np.arange(10)).fingerprint
    shorter = opened("c", images[:9], np.arange(9))
    others = [
        shorter,
        opened("d", 255 - images, np.arange(10)),
        opened("e", images, np.zeros(10, int)),
    ]
    assert len({s.fingerprint for s in (first, *others)}) == 4

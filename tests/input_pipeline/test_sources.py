"""Every source on real or made data, and one clear line for each kind of bad data."""

import dataclasses
import os
import socket
import subprocess
import sys
import time
from concurrent import futures

import numpy as np
import pytest
from PIL import Image

from drifting.core.errors import ConfigError
from input_pipeline import cache, fit
from input_pipeline.sources import SOURCES, DataError, Settings, load, open_stream
from input_pipeline.space import Latents, Pixels, Points


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
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


def test_digits_are_real_and_split_by_class():
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


def test_mnist_without_tensorflow(tfds_data_dir, tmp_path):
    code = (
        "import sys; from input_pipeline.sources import load;"
        "s = load('tfds:mnist', 'test', image_size=32, channels=1, fit='pad');"
        "assert s.images.shape[1:] == (32, 32, 1) and s.num_classes == 10, s.images.shape;"
        "assert len(set(s.labels.tolist())) == 10;"
        "assert 'tensorflow' not in sys.modules"
    )
    env = {**os.environ, "TFDS_DATA_DIR": str(tfds_data_dir), "PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


def test_cifar10_split_sizes(tfds_data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_data_dir))
    test = load("tfds:cifar10", "test", image_size=32, channels=3)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert test.class_names[0] == "airplane" and test.class_names[-1] == "truck"
    mean = test.images.mean(axis=(0, 1, 2)) / 255
    assert np.all(np.abs(mean - [0.494, 0.485, 0.450]) < 0.01)
    with pytest.raises(DataError, match="no split 'validation'.*train, test"):
        load("tfds:cifar10", "validation", image_size=32, channels=3)


def test_missing_tfds_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))

    def no_network(*_):
        raise OSError("no name service")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(DataError, match="not prepared in .*nothing.*network.*TFDS_DATA_DIR"):
        load("tfds:cifar10", image_size=32, channels=3)
    with pytest.raises(DataError, match="no data set 'cifar11'; did you mean 'cifar10"):
        load("tfds:cifar11", image_size=32, channels=3)


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
    with pytest.raises(DataError, match="serves 'train' alone"):
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


def test_of_those_who_start_together_one_decodes():
    calls = []

    def decode():
        calls.append(1)
        time.sleep(0.2)
        return np.ones((1, 2, 2, 1), np.uint8), np.zeros(1, np.int32)

    with futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cache.decoded("key", decode), range(4)))
    assert len(calls) == 1
    assert all(images.sum() == 4 for images, _ in found)


def test_a_damaged_cache_file_is_made_again(folder, tmp_path):
    first = load(f"folder:{folder}", image_size=8, channels=3)
    (cached,) = (tmp_path / "cache" / "decoded").glob("*.npz")
    cached.write_bytes(cached.read_bytes()[:100])
    again = load(f"folder:{folder}", image_size=8, channels=3)
    np.testing.assert_array_equal(first.images, again.images)


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
        (dict(images=np.zeros((2, 4, 4, 3), np.uint8), labels=[0]), "2 images but 1 labels"),
    ],
)
def test_unusable_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load(f"npz:{tmp_path / 'bad.npz'}", image_size=4, channels=3)


@pytest.fixture
def npy(tmp_path):
    images = np.arange(3 * 48, dtype=np.uint8).reshape(3, 4, 4, 3)
    np.save(tmp_path / "test_images.npy", images)
    np.save(tmp_path / "test_labels.npy", np.asarray([2, 0, 1], np.int64))
    return tmp_path


def test_npy_stays_on_disk_where_it_fits(npy):
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
        ("images", np.zeros((2, 4, 4, 3), np.uint8), "2 images but 3 labels"),
        ("images", np.asarray([{}] * 3, object), "images.npy cannot be read as an npy file"),
        ("labels", np.zeros(3), "labels are float64"),
        ("labels", np.asarray([0, -1, 2]), "labels must be at least 0"),
        ("labels", np.zeros((3, 1), int), "expected ints"),
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


@pytest.mark.parametrize(
    "source,message",
    [
        ("digit", "did you mean 'digits'"),
        ("folder:/nowhere/at/all", "no folder /nowhere/at/all"),
        ("npz:/nowhere.npz", "no file /nowhere.npz"),
    ],
)
def test_unknown_or_missing_source(source, message):
    with pytest.raises(DataError, match=message):
        load(source, image_size=8, channels=1)


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="no images in"):
        load(f"folder:{tmp_path}", image_size=8, channels=1)


# --- what a sample is ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source,size,channels,space",
    [
        ("digits", 12, 3, Pixels((12, 12, 3))),
        ("shapes", 8, 1, Pixels((8, 8, 1))),
        ("overfit:4", 8, 3, Pixels((8, 8, 3))),
        ("folder:{}/set", 8, 3, Pixels((8, 8, 3))),
        ("npz:{}/set.npz", 6, 1, Pixels((6, 6, 1))),
        ("npy:{}", 6, 1, Pixels((6, 6, 1))),
        ("latents:{}", 4, 5, Latents((4, 4, 5))),
        ("toy2d:moons", 8, 1, Points((2,))),
    ],
)
def test_every_source_says_what_its_samples_are(folder, tmp_path, source, size, channels, space):
    images, labels = np.zeros((3, 4, 4, 3), np.uint8), np.arange(3)
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    for name, values in {
        "images": images, "labels": labels, "latents": np.ones((3, 4, 4, 5), np.float16),
    }.items():  # fmt: skip
        np.save(tmp_path / f"train_{name}.npy", values)
    given = dict(source=source.format(tmp_path), image_size=size, channels=channels)
    found = load(**given)
    assert found.space == space and found.images.shape[1:] == space.shape
    assert space.holds(found.images)
    if SOURCES[source.partition(":")[0]].streams:
        stream = open_stream(**given)
        (batch,) = stream.batches(2, 0, 1)
        assert stream.space == batch.space == space and space.holds(batch.images)


def test_values_of_another_space_are_refused():
    digits = load("digits", "test", image_size=8, channels=1)
    for space in (Points((2,)), Latents((8, 8, 1)), Pixels((8, 8, 3))):
        with pytest.raises(ValueError, match=f"digits: values are uint8 .*and {space.noun} are"):
            dataclasses.replace(digits, space=space)


# --- config.data ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [
        {},
        dict(source="latents:somewhere", channels=4, streaming=True),
        dict(source="toy2d:moons", channels=2),
        dict(source="folder:somewhere", channels=3, streaming=True, read_threads=1),
        dict(num_val=100, on_corrupt="skip", fit="pad"),
    ],
)
def test_settings_that_can_be_used_need_no_data_to_be_checked(keys):
    Settings(**keys).check()


@pytest.mark.parametrize(
    "keys,error,message",
    [
        (dict(source="digit"), DataError, "unknown data source 'digit'.* mean 'digits'"),
        (dict(channels=2), DataError, r"config.data.channels = 2 is not one of \(1, 3\)"),
        (dict(fit="crop"), DataError, "config.data.fit = 'crop' is not one of .*resize.*pad"),
        (dict(on_corrupt="warn"), DataError, "config.data.on_corrupt = 'warn' is not one of"),
        (dict(streaming=True), DataError, "digits cannot be streamed; folder:.* can.*=False"),
        (dict(streaming=True, num_val=5), ConfigError, "num_val = 5, but no part of a stream"),
        (dict(streaming=True, read_threads=0), DataError, "read_threads = 0 is less than one"),
        (dict(streaming=True, on_corrupt="skip"), DataError, "every position has its record"),
    ],
)
def test_settings_that_cannot_be_used_are_named(keys, error, message):
    with pytest.raises(error, match=message):
        Settings(**keys).check()

"""A small folder in the layout of the official Tiny-ImageNet, and arrays; whole and damaged."""

import shutil

import numpy as np
import pytest
from PIL import Image

from input_pipeline.sources import DataError, load

WNIDS = ["n03", "n01", "n02"]  # wnids.txt is not sorted
VAL = {"val_0.JPEG": "n02", "val_1.JPEG": "n03", "val_2.JPEG": "n01", "val_10.JPEG": "n01"}


@pytest.fixture
def tiny(tmp_path):
    """Three classes of two grey images, of level 10, 20 or 30 by wnid; val is one level lighter."""
    root = tmp_path / "tiny-imagenet-200"
    grey = {"n01": 10, "n02": 20, "n03": 30}
    for wnid, value in grey.items():
        folder = root / "train" / wnid / "images"
        folder.mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (64, 64), (value,) * 3).save(folder / f"{wnid}_{i}.JPEG")
        (folder.parent / f"{wnid}_boxes.txt").write_text("n_0.JPEG\t0\t0\t1\t1\n")
    (root / "val" / "images").mkdir(parents=True)
    for name, wnid in VAL.items():
        Image.new("L", (64, 64), grey[wnid] + 1).save(root / "val" / "images" / name)
    lines = [f"{name}\t{wnid}\t0\t32\t44\t62\n" for name, wnid in VAL.items()]
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    words = "n00\tentity\nn01\tgoldfish, Carassius auratus\nn03\tEgyptian cat\n"
    (root / "words.txt").write_text(words)
    return root


def test_tiny_imagenet(tiny):
    for place in (tiny, tiny.parent):
        train = load(f"tiny_imagenet:{place}", "train", image_size=64, channels=3)
        assert train.class_names == ("goldfish", "n02", "Egyptian cat")
        assert train.labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert train.images[:, 5, 5, 1].tolist() == [10, 10, 20, 20, 30, 30]
        test = load(f"tiny_imagenet:{place}", "test", image_size=64, channels=3)
        assert test.labels.tolist() == [1, 2, 0, 0]  # val_0, 1, 2, 10
        assert test.images[:, 5, 5, 1].tolist() == [21, 31, 11, 11]
    (tiny / "words.txt").unlink()
    train = load(f"tiny_imagenet:{tiny}", "train", image_size=64, channels=3)
    assert train.class_names == ("n01", "n02", "n03")


def append(path, text):
    path.write_text(path.read_text() + text)


@pytest.mark.parametrize(
    "split,damage,message",
    [
        ("val", lambda r: None, "no split 'val'.*test is the official val folder"),
        ("train", lambda r: (r / "wnids.txt").unlink(), "wnids.txt is missing: config.data"),
        ("train", lambda r: shutil.rmtree(r / "train" / "n02"), "no images in .*n02.*unpack"),
        (
            "test",
            lambda r: (r / "val" / "val_annotations.txt").unlink(),
            "val_annotations.txt is missing",
        ),
        (
            "test",
            lambda r: (r / "val" / "images" / "val_1.JPEG").unlink(),
            "val_1.JPEG is not in .*val/images; unpack",
        ),
        (
            "test",
            lambda r: Image.new("L", (64, 64)).save(r / "val" / "images" / "val_7.JPEG"),
            "val_7.JPEG is not listed in .*val_annotations.txt",
        ),
        (
            "test",
            lambda r: append(r / "val" / "val_annotations.txt", "val_8.JPEG n01 0\n"),
            "val_annotations.txt: 'val_8.JPEG n01 0' is not a file name and",
        ),
        (
            "test",
            lambda r: append(r / "val" / "val_annotations.txt", "val_8.JPEG\tn99\t0\n"),
            "n99.* is not a file name and a class",
        ),
        (
            "train",
            lambda r: (r / "train" / "n01" / "images" / "n01_0.JPEG").write_bytes(b"\xff\xd8"),
            "cannot read image .*n01_0.JPEG",
        ),
    ],
)
def test_damaged_tiny_imagenet(tiny, split, damage, message):
    damage(tiny)
    with pytest.raises(DataError, match=message):
        load(f"tiny_imagenet:{tiny}", split, image_size=64, channels=3)


def test_left_overs_of_an_unpacking_system_are_no_data(tiny):
    for folder in (tiny / "train" / "n01" / "images", tiny / "val" / "images"):
        (folder / "._n01_0.JPEG").write_bytes(b"\0\5\x16\7")
    assert len(load(f"tiny_imagenet:{tiny}", "train", image_size=64, channels=3)) == 6
    assert len(load(f"tiny_imagenet:{tiny}", "test", image_size=64, channels=3)) == 4
    (tiny / "val" / "images" / "notes.txt").write_text("no image")
    with pytest.warns(UserWarning, match=r"image: 1 \(such as val/images/notes.txt\)$"):
        assert len(load(f"tiny_imagenet:{tiny}", "test", image_size=64, channels=3)) == 4


@pytest.fixture
def stored(tmp_path):
    """Tiny-ImageNet as arrays, next to those of another data set."""
    for split, labels in (("train", [1, 0, 2, 1]), ("test", [2, 1])):
        shape = (len(labels), 64, 64, 3)
        images = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape).astype(np.uint8)
        np.save(tmp_path / f"tiny_imagenet_{split}_images.npy", images + np.uint8(len(split)))
        np.save(tmp_path / f"tiny_imagenet_{split}_labels.npy", np.asarray(labels))
    np.save(tmp_path / "cifar_train_images.npy", np.zeros((9, 2, 2, 3), np.uint8))
    return tmp_path


def test_tiny_imagenet_as_arrays(stored):
    for split, labels in (("train", [1, 0, 2, 1]), ("test", [2, 1])):
        found = load(f"tiny_imagenet:{stored}", split, image_size=64, channels=3)
        expected = np.load(stored / f"tiny_imagenet_{split}_images.npy")
        np.testing.assert_array_equal(found.images, expected)
        assert found.labels.tolist() == labels and found.class_names == ("0", "1", "2")


def test_damaged_arrays_of_tiny_imagenet(stored):
    def read():
        load(f"tiny_imagenet:{stored}", "train", image_size=64, channels=3)

    labels = stored / "tiny_imagenet_train_labels.npy"
    np.save(labels, np.asarray([1, 0, 2, 4]))  # as many classes as the other data set has images
    with pytest.raises(DataError, match="labels are 0 to 4, but must be .* of samples, 4"):
        read()
    labels.unlink()
    with pytest.raises(DataError, match="no file .*/tiny_imagenet_train_labels.npy; .*'tiny_image"):
        read()
    with pytest.raises(DataError, match="no split 'val'"):
        load(f"tiny_imagenet:{stored}", "val", image_size=64, channels=3)

"""Small folders in the layouts of the official archives, whole and damaged."""

import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from input_pipeline import plain_pickle
from input_pipeline.sources import DataError, load

COUNT = 6  # images of a file


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTING_CACHE", str(tmp_path / "cache"))


def drawn(seed, num_classes):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)
    return images, rng.integers(0, num_classes, COUNT)


def planes(images):
    """Red, then green, then blue, each row by row: [N, 3072]."""
    return np.concatenate([images[..., c].reshape(len(images), -1) for c in range(3)], axis=1)


FILES = {
    "cifar10": {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]},
    "cifar100": {"train": ["train"], "test": ["test"]},
}
FOLDERS = {
    "cifar10": ("cifar-10-batches-bin", "cifar-10-batches-py"),
    "cifar100": ("cifar-100-binary", "cifar-100-python"),
}
CLASSES = {"cifar10": 10, "cifar100": 100}


def expected(source, split):
    """The images and labels that `build` put into the files of a split."""
    names = [n for s in ("train", "test") for n in FILES[source][s]]
    parts = [drawn(names.index(n), CLASSES[source]) for n in FILES[source][split]]
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def build(root, source, form, protocol=2, numpy_labels=False):
    """The official folder `form` ("binary" or "pickled") of a source below `root`."""
    folder = root / FOLDERS[source][form == "pickled"]
    folder.mkdir()
    names = [n for s in ("train", "test") for n in FILES[source][s]]
    for seed, name in enumerate(names):
        images, labels = drawn(seed, CLASSES[source])
        coarse = labels[::-1] // 5 % 20  # unlike the fine labels
        if form == "binary":
            columns = [labels] if source == "cifar10" else [coarse, labels]
            head = np.stack(columns, axis=1).astype(np.uint8)
            (folder / f"{name}.bin").write_bytes(np.hstack([head, planes(images)]).tobytes())
            continue
        fine = labels if numpy_labels else labels.tolist()
        key = b"labels" if source == "cifar10" else b"fine_labels"
        values = {b"data": planes(images), key: fine, b"batch_label": b"made"}
        values |= {} if source == "cifar10" else {b"coarse_labels": coarse.tolist()}
        (folder / name).write_bytes(pickle.dumps(values, protocol))
    class_names = [f"class_{k}" for k in range(CLASSES[source])]
    if form == "binary":
        names_file = "batches.meta.txt" if source == "cifar10" else "fine_label_names.txt"
        (folder / names_file).write_text("\n".join(class_names) + "\n\n")
    else:
        key = "label_names" if source == "cifar10" else "fine_label_names"
        meta = folder / ("batches.meta" if source == "cifar10" else "meta")
        meta.write_bytes(pickle.dumps({key: class_names}, protocol))
    return folder


def read(source, folder, split="train"):
    return load(f"{source}:{folder}", split, image_size=32, channels=3)


@pytest.mark.parametrize("form", ["binary", "pickled"])
@pytest.mark.parametrize("source", ["cifar10", "cifar100"])
def test_cifar_folders_and_their_parents(tmp_path, source, form):
    folder = build(tmp_path, source, form)
    for split in ("train", "test"):
        images, labels = expected(source, split)
        for place in (folder, tmp_path):
            found = read(source, place, split)
            np.testing.assert_array_equal(found.images, images)
            np.testing.assert_array_equal(found.labels, labels)
            assert found.labels.dtype == np.int32
            assert found.class_names == tuple(f"class_{k}" for k in range(CLASSES[source]))
    with pytest.raises(DataError, match=f"{source} has no split 'val'; it has train, test"):
        read(source, folder, "val")


@pytest.mark.parametrize("form", ["binary", "pickled"])
def test_cifar_in_another_size_and_without_names(tmp_path, form):
    folder = build(tmp_path, "cifar10", form)
    for name in ("batches.meta", "batches.meta.txt"):
        (folder / name).unlink(missing_ok=True)
    found = load(f"cifar10:{folder}", "test", image_size=8, channels=1)
    assert found.images.shape == (COUNT, 8, 8, 1) and found.class_names == tuple("0123456789")


@pytest.mark.parametrize("numpy_labels", [False, True])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pickles_of_every_protocol(tmp_path, protocol, numpy_labels):
    folder = build(tmp_path, "cifar10", "pickled", protocol, numpy_labels)
    images, labels = expected("cifar10", "train")
    found = read("cifar10", folder)
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.labels, labels)


def test_a_pickle_of_python_2(tmp_path):
    # Written by hand as Python 2 and its NumPy did: bytes are strings, modules have old names.
    raw = bytes(range(250, 256))
    content = (
        b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        b"U\x01b\x87R(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06" + raw + b"tbs."
    )
    (tmp_path / "old").write_bytes(content)
    data = plain_pickle.read(tmp_path / "old")["data"]
    assert data.dtype == np.uint8 and data.tolist() == [[250, 251, 252], [253, 254, 255]]


class Touch:
    """Leaves a file when unpickled."""

    def __init__(self, path, how):
        self.path, self.how = str(path), how

    def __reduce__(self):
        code = f"open({self.path!r}, 'w').close()"
        if self.how == "eval":
            return eval, (code,)
        if self.how == "system":
            import os

            return os.system, (f"touch {self.path}",)
        return getattr, (np.ndarray, "dumps")


@pytest.mark.parametrize("how,named", [("eval", "eval"), ("system", "system"), ("get", "getattr")])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_malicious_pickle_does_not_run(tmp_path, how, named, protocol):
    folder = build(tmp_path, "cifar10", "pickled")
    marker = tmp_path / "owned"
    malicious = pickle.dumps({"data": Touch(marker, how), "labels": []}, protocol)
    if how != "get":
        pickle.loads(malicious)
        assert marker.exists()  # the attack works where pickles are trusted
        marker.unlink()
    for name in ("data_batch_3", "batches.meta"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(malicious)
        with pytest.raises(DataError, match=f"{name} cannot be read .*{named}, which is refused"):
            read("cifar10", folder)
        (folder / name).write_bytes(kept)
    assert not marker.exists()


def test_arrays_of_objects_are_refused(tmp_path):
    (tmp_path / "objects").write_bytes(pickle.dumps({"data": np.asarray([{}, []], object)}))
    with pytest.raises(DataError, match="objects cannot be read .*arrays of '.O8' are not read"):
        plain_pickle.read(tmp_path / "objects")


@pytest.mark.parametrize("source", ["cifar10", "cifar100"])
def test_a_truncated_binary_file(tmp_path, source):
    folder = build(tmp_path, source, "binary")
    path = folder / f"{FILES[source]['train'][-1]}.bin"
    for content in (path.read_bytes()[:-1], b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"{path.name} has {len(content)} bytes.* unpack the"):
            read(source, folder)


def test_a_label_out_of_range(tmp_path):
    folder = build(tmp_path, "cifar10", "binary")
    content = bytearray((folder / "data_batch_2.bin").read_bytes())
    content[0] = 10
    (folder / "data_batch_2.bin").write_bytes(content)
    with pytest.raises(DataError, match="data_batch_2.bin has labels from . to 10, expected 0 to"):
        read("cifar10", folder)


@pytest.mark.parametrize(
    "values,message",
    [
        (b"\x80\x02}", "cannot be read as a pickle .*Unpack the official archive again"),
        ([1, 2], "it holds a list, not a dict"),
        ({"labels": [1]}, "holds \\['labels'\\], not the array 'data'"),
        ({"data": np.zeros((2, 3000), np.uint8), "labels": [1, 2]}, "\\(2, 3000\\), expected"),
        ({"data": np.zeros((2, 3072)), "labels": [1, 2]}, "float64 .*expected uint8"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, "2 images and labels int64 \\(1,"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": ["1"]}, "expected an integer for each"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [-1]}, "labels from -1 to -1"),
    ],
)
def test_unusable_pickles_are_named(tmp_path, values, message):
    folder = build(tmp_path, "cifar10", "pickled")
    content = values if isinstance(values, bytes) else pickle.dumps(values, 2)
    (folder / "data_batch_4").write_bytes(content)
    with pytest.raises(DataError, match=f"data_batch_4.*{message}"):
        read("cifar10", folder)


def test_missing_cifar_files(tmp_path):
    with pytest.raises(DataError, match="no cifar10 files in .*cifar-10-batches-bin or cifar-10"):
        read("cifar10", tmp_path)
    folder = build(tmp_path, "cifar10", "binary")
    (folder / "data_batch_1.bin").unlink()
    with pytest.raises(DataError, match="data_batch_1.bin is missing; unpack"):
        read("cifar10", tmp_path)
    (folder / "batches.meta.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match="batches.meta.txt has 2 class names, expected 10"):
        read("cifar10", tmp_path, "test")


# --- Tiny-ImageNet -------------------------------------------------------------------------------

WNIDS = ["n03", "n01", "n02"]  # wnids.txt is not sorted
VAL = {"val_0.JPEG": "n02", "val_1.JPEG": "n03", "val_2.JPEG": "n01", "val_10.JPEG": "n01"}


@pytest.fixture
def tiny(tmp_path):
    """Three classes of two images of one grey each: 10, 20, 30 by wnid; val is one lighter."""
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
        ("val", lambda r: None, "no split 'val'.*test, which is the official val folder"),
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
            "val_annotations.txt: 'val_8.JPEG n01 0' is not a file and",
        ),
        (
            "test",
            lambda r: append(r / "val" / "val_annotations.txt", "val_8.JPEG\tn99\t0\n"),
            "n99.* is not a file and one of the classes",
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

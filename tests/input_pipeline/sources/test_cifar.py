"""Small CIFAR folders in the layouts of the official archives, whole, damaged and hostile."""

import pickle

import numpy as np
import pytest

from input_pipeline.sources import DataError, load

COUNT = 6  # images per file


def drawn(seed, num_classes):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)
    return images, rng.integers(0, num_classes, COUNT)


def planes(images):
    """Red, green and blue planes, each row by row: [N, 3072]."""
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
    """The images and labels that `build` writes for a split."""
    names = [n for s in ("train", "test") for n in FILES[source][s]]
    parts = [drawn(names.index(n), CLASSES[source]) for n in FILES[source][split]]
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def build(root, source, form, protocol=2, numpy_labels=False):
    """Writes the official folder of a source, "binary" or "pickled", below `root`."""
    folder = root / FOLDERS[source][form == "pickled"]
    folder.mkdir()
    names = [n for s in ("train", "test") for n in FILES[source][s]]
    for seed, name in enumerate(names):
        images, labels = drawn(seed, CLASSES[source])
        coarse = labels[::-1] // 5 % 20  # different from the fine labels
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
    with pytest.raises(DataError, match=f"{source}:.* has no split 'val'; it has train, test"):
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
def test_code_in_a_malicious_pickle_does_not_run(tmp_path, how, named, protocol):
    folder = build(tmp_path, "cifar10", "pickled")
    marker = tmp_path / "owned"
    malicious = pickle.dumps({"data": Touch(marker, how), "labels": []}, protocol)
    if how != "get":
        pickle.loads(malicious)
        assert marker.exists()  # the attack works if pickles are trusted
        marker.unlink()
    for name in ("data_batch_3", "batches.meta"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(malicious)
        with pytest.raises(DataError, match=f"{name} cannot be read .*{named}, which is refused"):
            read("cifar10", folder)
        (folder / name).write_bytes(kept)
    assert not marker.exists()


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
        (
            {"data": np.zeros((1, 3072), np.uint8), "labels": ["1"]},
            "expected one integer per",
        ),
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

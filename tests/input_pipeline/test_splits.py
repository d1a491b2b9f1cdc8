"""Splits: complete, disjoint, exact by class, and the same everywhere."""

import collections
import dataclasses
import hashlib
import json

import numpy as np
import pytest

from input_pipeline import splits
from input_pipeline.sources import DataError, ImageSet, load
from input_pipeline.space import Pixels

# The SHA-256 of the split file of `made(30, 3, 1)` with 7 held out by seed 42. It must be the same
# on all machines and with all versions of Python and NumPy: a change is a leak between runs.
FILE_SHA256 = "df05f1cfcb78d28210ad569cf0e7d3a5194c1de06f094303997f6c1f36eee598"
# The fingerprint of 100 of the training digits: likewise the same everywhere.
LIMITED_SHA256 = "fec6ceb41022fd2fc7b9e5b17d6f6b3e7231f7dae3aba11419d839e64e9aa37d"


def made(count, classes, seed, least=2):
    """A set with at least `least` images of each class, drawn from an arithmetic generator."""
    rows = np.arange(count, dtype=np.int64)
    drawn = (rows * 7919 + seed) % 104729 % classes
    labels = np.where(rows < least * classes, rows % classes, drawn).astype(np.int32)
    images = ((rows[:, None] * 31 + np.arange(12)[None] * 17 + seed) % 256).astype(np.uint8)
    names = tuple(f"class {k}" for k in range(classes))
    images = images.reshape(count, 2, 2, 3)
    return ImageSet(images, labels, names, "made", "train", Pixels((2, 2, 3)))


def reference_rows(labels, num_val, seed):
    """The rule in plain Python: order by SHA-256, shares by largest remainder."""

    def place(row):
        return hashlib.sha256(f"{seed} {row}".encode()).digest()

    by_class = collections.defaultdict(list)
    for row in sorted(range(len(labels)), key=place):
        by_class[int(labels[row])].append(row)
    exact = {k: divmod(num_val * len(rows), len(labels)) for k, rows in by_class.items()}
    left = num_val - sum(whole for whole, _ in exact.values())
    extra = sorted(exact, key=lambda k: (-exact[k][1], k))[:left]
    return sorted(r for k, rows in by_class.items() for r in rows[: exact[k][0] + (k in extra)])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "count,classes,num_val", [(20, 1, 1), (21, 10, 20), (300, 7, 31), (999, 3, 500)]
)
def test_parts_are_disjoint_complete_and_exact_by_class(count, classes, num_val, seed):
    image_set = made(count, classes, seed)
    split = splits.make(image_set, num_val, seed)
    assert sorted([*split.train_indices, *split.val_indices]) == list(range(count))
    counts = np.bincount(image_set.labels, minlength=classes)
    held_out = np.bincount(image_set.labels[split.val_indices], minlength=classes)
    np.testing.assert_array_equal(held_out, splits.apportion(num_val, counts))
    assert np.all(np.abs(held_out - num_val * counts / count) < 1)
    assert split.val_indices.tolist() == reference_rows(image_set.labels, num_val, seed)


def test_rows_depend_on_seed_and_labels_but_not_on_pixels():
    image_set = made(200, 4, 0)
    split = splits.make(image_set, 40)
    inverted = dataclasses.replace(image_set, images=255 - image_set.images)
    other = splits.make(inverted, 40)
    np.testing.assert_array_equal(split.val_indices, other.val_indices)
    assert split != other and split == splits.make(image_set, 40)
    assert set(split.val_indices) != set(splits.make(image_set, 40, seed=43).val_indices)
    # The order within a class is fixed, so a larger validation part holds the smaller one.
    assert set(split.val_indices) < set(splits.make(image_set, 80).val_indices)


@pytest.mark.parametrize("change", ["pixel", "label", "shape"])
def test_the_content_hash_sees_every_change(change):
    image_set = made(40, 2, 0)
    images, labels = image_set.images.copy(), image_set.labels.copy()
    if change == "pixel":
        images[3, 1, 0, 2] ^= 1
    if change == "label":
        labels[39] ^= 1
    if change == "shape":
        images = images.reshape(40, 1, 4, 3)
    space = Pixels(images.shape[1:])
    other = ImageSet(images, labels, ("a", "b"), "made", "train", space)
    assert other.fingerprint != image_set.fingerprint
    with pytest.raises(DataError, match="made for other images or labels than made has now"):
        splits.make(image_set, 5).apply(other)


def test_parts_are_image_sets_of_their_own():
    image_set = made(60, 3, 2)
    split = splits.make(image_set, 12)
    fit, val = split.apply(image_set)
    np.testing.assert_array_equal(fit.images, image_set.images[split.train_indices])
    np.testing.assert_array_equal(val.labels, image_set.labels[split.val_indices])
    assert (fit.split, val.split, fit.source) == ("train[fit]", "train[val]", "made")
    assert fit.class_names == val.class_names == image_set.class_names
    other_fit, _ = splits.make(image_set, 12, seed=1).apply(image_set)
    prints = {image_set.fingerprint, fit.fingerprint, val.fingerprint, other_fit.fingerprint}
    assert len(prints) == 4
    assert fit.fingerprint == splits.make(image_set, 12).apply(image_set)[0].fingerprint


def test_the_file_is_the_same_bytes_everywhere(tmp_path):
    split = splits.make(made(30, 3, 1), 7)
    for name in ("a", "b"):
        splits.write(tmp_path / name, split)
    content = (tmp_path / "a").read_bytes()
    assert content == (tmp_path / "b").read_bytes()
    assert hashlib.sha256(content).hexdigest() == FILE_SHA256
    assert splits.read(tmp_path / "a") == split
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]  # nothing half-written is left


def test_made_once_then_read_and_checked(tmp_path):
    image_set, path = made(50, 5, 0), tmp_path / "splits" / "made.json"
    split = splits.load_or_make(path, image_set, 10)
    stamp = path.stat().st_mtime_ns
    assert splits.load_or_make(path, image_set, 10) == split and path.stat().st_mtime_ns == stamp
    with pytest.raises(DataError, match="made.json is a split of seed 42, not 7: name another"):
        splits.load_or_make(path, image_set, 10, seed=7)
    with pytest.raises(DataError, match="of validation size 10, not 11"):
        splits.load_or_make(path, image_set, 11)
    with pytest.raises(DataError, match="of data with SHA-256 .*remove this one"):
        splits.load_or_make(path, made(50, 5, 1), 10)


def damage_row(values):
    free = set(range(values["num_images"])) - set(values["val_indices"])
    values["val_indices"] = sorted([*values["val_indices"][1:], min(free)])


@pytest.mark.parametrize(
    "damage",
    [
        damage_row,
        lambda v: v.pop("seed"),
        lambda v: v.update(extra=1),
        lambda v: v.update(num_images=10_000),
        lambda v: v["val_indices"].reverse(),
        lambda v: v["val_indices"].append(50),
        lambda v: v.update(val_indices="all"),
        lambda v: v.update(content_sha256=None),
    ],
)
def test_a_damaged_file_is_named(tmp_path, damage):
    image_set, path = made(50, 5, 0), tmp_path / "split.json"
    splits.load_or_make(path, image_set, 10)
    values = json.loads(path.read_bytes())
    damage(values)
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match="split.json is damaged.* Remove it to make a new split"):
        splits.load_or_make(path, image_set, 10)


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"\xff\x00", b"{"])
def test_files_without_a_split(tmp_path, content):
    (tmp_path / "split.json").write_bytes(content)
    with pytest.raises(DataError, match="split.json is damaged"):
        splits.read(tmp_path / "split.json")
    with pytest.raises(DataError, match="no split file .*absent"):
        splits.read(tmp_path / "absent")


@pytest.mark.parametrize("num_val", [-1, 0, 20, 21])
def test_sizes_that_leave_a_part_empty_are_refused(num_val):
    with pytest.raises(DataError, match=f"cannot hold out {num_val} of the 20 .* ask for 1 to 19"):
        splits.make(made(20, 2, 0), num_val)


def test_classes_too_small_to_split_are_named():
    image_set = ImageSet(
        np.zeros((5, 1, 1, 1), np.uint8),
        np.asarray([0, 0, 0, 1, 3], np.int32),
        ("a", "b", "c", "d"),
        "made",
        "train",
        Pixels((1, 1, 1)),
    )
    with pytest.raises(DataError, match=r"the 2 images .*: b \(1\), c \(0\), d \(1\)\. Add"):
        splits.make(image_set, 1)


@pytest.mark.parametrize("count,classes,num", [(300, 7, 31), (999, 3, 500), (20, 1, 1)])
def test_each_class_has_its_share_and_rows_stay_in_order(count, classes, num):
    whole = made(count, classes, 0)
    part = splits.limit(whole, num)
    rows = reference_rows(whole.labels, num, splits.LIMIT_SEED)
    np.testing.assert_array_equal(part.images, whole.images[rows])
    np.testing.assert_array_equal(part.labels, whole.labels[rows])
    assert part.class_counts == tuple(splits.apportion(num, whole.class_counts))
    assert (part.class_names, part.split, part.source) == (whole.class_names, "train", "made")


def test_the_samples_of_digits_are_fixed():
    """They must be the same on all machines and with all versions of Python and NumPy."""
    whole = load("digits", image_size=8, channels=1)
    part = splits.limit(whole, 100)
    assert len(part) == 100 and set(part.class_counts) == {10}
    assert part.fingerprint == LIMITED_SHA256
    assert splits.limit(whole, len(whole)).fingerprint == whole.fingerprint


def test_a_limit_that_the_data_do_not_allow_is_refused():
    whole = made(300, 7, 0)
    with pytest.raises(DataError, match="limit = 301: made, split 'train', has only 300 samples"):
        splits.limit(whole, 301)
    with pytest.raises(DataError, match="limit = 6: made, .* 7 classes, .* 1 would be left"):
        splits.limit(whole, 6)


def test_the_number_named_in_the_message_leaves_no_class_empty():
    rare = made(300, 2, 0)
    rare.labels[:] = 0
    rare.labels[[5, 9, 200]] = 1
    with pytest.raises(DataError, match="'class 1' the first of them; set 100 or more"):
        splits.limit(rare, 30)
    assert splits.limit(rare, 100).class_counts == (99, 1)


def test_channel_statistics_against_numpy(monkeypatch):
    monkeypatch.setattr(splits, "HISTOGRAM_CHUNK", 7)
    image_set = made(100, 2, 3)
    unit = image_set.images.astype(np.float64) / 127.5 - 1
    mean, deviation = splits.channel_statistics(image_set)
    assert mean.dtype == deviation.dtype == np.float64
    np.testing.assert_allclose(mean, unit.mean(axis=(0, 1, 2)), atol=1e-14)
    np.testing.assert_allclose(deviation, unit.std(axis=(0, 1, 2)), rtol=1e-13)
    black = dataclasses.replace(image_set, images=np.zeros_like(image_set.images))
    np.testing.assert_array_equal(splits.channel_statistics(black), [[-1] * 3, [0] * 3])


def hashes(images):
    return collections.Counter(hashlib.sha256(np.ascontiguousarray(x)).digest() for x in images)


def test_no_test_image_of_digits_is_in_either_part():
    train = load("digits", "train", image_size=8, channels=1)
    test = load("digits", "test", image_size=8, channels=1)
    fit, val = splits.make(train, 200).apply(train)
    assert len(fit) == 1297 and len(val) == 200
    assert not (hashes(fit.images) + hashes(val.images)) & hashes(test.images)


def test_parts_of_mnist_share_no_row(tfds_data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_data_dir))
    train = load("tfds:mnist", "train", image_size=28, channels=1)
    split = splits.make(train, 1000)
    fit, val = split.apply(train)
    assert not set(split.train_indices.tolist()) & set(split.val_indices.tolist())
    # An image may occur twice in the set, so the counts of each image are compared.
    assert hashes(fit.images) + hashes(val.images) == hashes(train.images)


def test_cifar10_is_split_4500_and_500_per_class(tfds_data_dir):
    import tensorflow_datasets as tfds

    # The SHA-256 of an image's file identifies its pixels: decoding 50,000 would take 15 seconds.
    builder = tfds.builder("cifar10", data_dir=tfds_data_dir, file_format="array_record")
    skip = {"image": tfds.decode.SkipDecoding()}
    source = builder.as_data_source("train", decoders=skip)
    rows = source.__getitems__(range(len(source)))  # four times as fast as one by one
    images = np.stack([np.frombuffer(hashlib.sha256(r["image"]).digest(), np.uint8) for r in rows])
    labels = np.asarray([r["label"] for r in rows], np.int32)
    names = tuple(builder.info.features["label"].names)
    images, space = images.reshape(-1, 4, 8, 1), Pixels((4, 8, 1))
    train = ImageSet(images, labels, names, "tfds:cifar10", "train", space)
    split = splits.make(train, 5000)
    fit, val = split.apply(train)
    assert np.bincount(fit.labels).tolist() == [4500] * 10
    assert np.bincount(val.labels).tolist() == [500] * 10
    assert not set(split.train_indices.tolist()) & set(split.val_indices.tolist())
    assert hashes(fit.images) + hashes(val.images) == hashes(train.images)

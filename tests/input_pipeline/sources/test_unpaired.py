"""Two domains without pairs: from folders, from classes of a set, and from splits in pairs."""

import numpy as np
import pytest
from PIL import Image

from input_pipeline import fit, splits
from input_pipeline.sources import DataError, Settings, load


def put(folder, *greys):
    """Image files in that order, each of one grey value; not all of the same size."""
    folder.mkdir(parents=True)
    for i, grey in enumerate(greys):
        Image.new("RGB", (4 + i % 2, 4), (grey,) * 3).save(folder / f"{i}.png")
    return folder


def greys_of(source, split="train", **options):
    """The grey value of each image by class name."""
    found = load(source, split, image_size=4, channels=3, **options)
    assert np.all(np.ptp(found.images, axis=(1, 2, 3)) == 0) and found.source == source
    values = found.images[:, 0, 0, 0]
    return {name: values[found.labels == k].tolist() for k, name in enumerate(found.class_names)}


@pytest.fixture
def four_classes(tmp_path):
    """An npz file of classes 0 to 3, whose grey values are 10 times the class plus 0, 1, ..."""
    labels = np.asarray([3, 0, 1, 1, 2, 3, 1, 0])
    greys = np.asarray([30, 0, 10, 11, 20, 31, 12, 1])
    images = np.tile(greys.astype(np.uint8)[:, None, None, None], (1, 4, 4, 3))
    np.savez(tmp_path / "set.npz", train_images=images, train_labels=labels,
             test_images=images[:5], test_labels=labels[:5])  # fmt: skip
    return f"npz:{tmp_path / 'set.npz'}"


def test_two_flat_folders(tmp_path):
    photos, paintings = put(tmp_path / "photo", 1, 2, 3), put(tmp_path / "monet", 201, 202)
    source = f"unpaired:folder:{photos},folder:{paintings}/"
    assert greys_of(source) == {"photo": [1, 2, 3], "monet": [201, 202]}
    reverse = f"unpaired:folder:{paintings}, folder:{photos}"
    assert greys_of(reverse) == {"monet": [201, 202], "photo": [1, 2, 3]}


def test_class_folders_of_a_side_are_one_domain(tmp_path):
    for name, grey in (("a", 1), ("b", 2)):
        put(tmp_path / "set" / name, grey)
    put(tmp_path / "other", 9)
    source = f"unpaired:folder:{tmp_path / 'other'},folder:{tmp_path / 'set'}"
    assert greys_of(source) == {"other": [9], "set": [1, 2]}
    assert greys_of(f"{source}#b") == {"other": [9], "b": [2]}


def test_two_classes_of_a_set(four_classes):
    source = f"unpaired:{four_classes}#3,{four_classes}#1"
    assert greys_of(source) == {"3": [30, 31], "1": [10, 11, 12]}
    assert greys_of(source, "test") == {"3": [30], "1": [10, 11]}
    mixed = f"unpaired:{four_classes}#2,{four_classes}"
    assert greys_of(mixed)["2"] == [20] and len(greys_of(mixed)["set.npz"]) == 8


def test_sides_from_different_kinds_of_sources(four_classes, tmp_path):
    put(tmp_path / "paint", 77)
    assert greys_of(f"unpaired:{four_classes}#1,folder:{tmp_path / 'paint'}") == {
        "1": [10, 11, 12],
        "paint": [77],
    }


def test_the_folders_of_the_release(tmp_path):
    for name, grey in (("trainA", 10), ("trainB", 20), ("testA", 30), ("testB", 40)):
        put(tmp_path / "set" / name, grey, grey + 1)
    source = f"folder:{tmp_path / 'set'}"
    assert greys_of(f"unpaired:{source}") == {"A": [10, 11], "B": [20, 21]}
    assert greys_of(f"unpaired:{source}", "test") == {"A": [30, 31], "B": [40, 41]}
    assert greys_of(f"unpaired:{source}@B,{source}@A") == {"B": [20, 21], "A": [10, 11]}
    with pytest.raises(DataError, match="no sub-folder 'valA'"):
        greys_of(f"unpaired:{source}", "val")


def test_the_same_folder_names_get_letters(tmp_path):
    first, second = put(tmp_path / "x" / "images", 1), put(tmp_path / "y" / "images", 2)
    source = f"unpaired:folder:{first},folder:{second}"
    assert greys_of(source) == {"images A": [1], "images B": [2]}


def test_limit_and_validation_images_are_shared_by_both_sides(tmp_path):
    put(tmp_path / "a", *range(30))
    put(tmp_path / "b", *range(100, 110))
    source = f"unpaired:folder:{tmp_path / 'a'},folder:{tmp_path / 'b'}"
    whole = load(source, image_size=4, channels=3)
    assert splits.limit(whole, 12).class_counts == (9, 3)
    fit_part, val = splits.make(whole, 8).apply(whole)
    assert (fit_part.class_counts, val.class_counts) == ((24, 8), (6, 2))


# --- decoding ------------------------------------------------------------------------------------


def test_each_side_is_cached_as_the_source_that_it_is(tmp_path, monkeypatch):
    calls = []
    real = fit.fit_image
    monkeypatch.setattr(fit, "fit_image", lambda *a: calls.append(1) or real(*a))
    first, second = put(tmp_path / "a", 1, 2), put(tmp_path / "b", 3, 4, 5)
    source = f"unpaired:folder:{first},folder:{second}"
    before = load(source, image_size=4, channels=3)
    again = load(source, image_size=4, channels=3)
    assert len(calls) == 5 and again.fingerprint == before.fingerprint
    Image.new("RGB", (4, 4), (9, 9, 9)).save(second / "1.png")
    assert greys_of(source) == {"a": [1, 2], "b": [3, 9, 5]}
    assert len(calls) == 8  # only the side that changed


def test_unreadable_files_of_both_sides_are_named_and_left_out(tmp_path):
    for name in ("a", "b"):
        (put(tmp_path / name, 1, ord(name)) / "bad.png").write_bytes(b"\x89PNG not really")
    source = f"unpaired:folder:{tmp_path / 'a'},folder:{tmp_path / 'b'}"
    with pytest.raises(DataError, match="a/bad.png.*on_corrupt='skip'"):
        greys_of(source)
    with pytest.warns(UserWarning, match="left out 1 unreadable") as caught:
        found = greys_of(source, on_corrupt="skip")
    assert found == {"a": [1, ord("a")], "b": [1, ord("b")]}
    texts = "".join(str(w.message) for w in caught)
    assert "a/bad.png" in texts and "b/bad.png" in texts


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sides,message",
    [
        ("digits", "digits has no split 'trainA'.*'unpaired:digits' alone"),
        ("digits#3", "does not name two domains; write unpaired:<A>,<B>"),
        ("digits@A", "does not name two domains"),
        ("digits#1,", "does not name two domains"),
        ("", "does not name two domains"),
        ("digits#1,digits#2,digits#3", "does not name two domains.*names cannot have commas"),
        ("digits#1,digit#2", "unknown data source 'digit'.*did you mean 'digits'"),
        ("digits#1,toy2d:moons", "toy2d:moons does not hold images"),
        ("digits#1,unpaired:digits", "unpaired:digits does not hold images of one domain"),
        ("shapes#circle,shapes#sqare", "shapes has no class 'sqare'; it has circle, square, "
         "triangle, cross, ring; did you mean 'square'"),
        ("digits#1,digits#1", "split 'train': both sides have the same images"),
        ("digits#1,folder:/nowhere", "no folder /nowhere"),
    ],
)  # fmt: skip
def test_bad_sides_are_refused(sides, message):
    with pytest.raises(DataError, match=message):
        load(f"unpaired:{sides}", image_size=8, channels=1)


def test_a_side_without_the_split_is_refused(tmp_path, four_classes):
    put(tmp_path / "paint", 77)
    source = f"unpaired:{four_classes}#1,folder:{tmp_path / 'paint'}"
    with pytest.raises(DataError, match="paint has no sub-folder 'test', so its only split"):
        greys_of(source, "test")


def test_a_class_without_images_in_the_split_is_refused(tmp_path):
    images = np.zeros((3, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "set.npz", train_images=images, train_labels=[0, 1, 2],
             test_images=images[:2], test_labels=[0, 2])  # fmt: skip
    source = f"npz:{tmp_path / 'set.npz'}"
    with pytest.raises(DataError, match="split 'test', has no images of class '1'"):
        greys_of(f"unpaired:{source}#0,{source}#1", "test")


def test_two_classes_of_one_name_are_refused(tmp_path):
    file = tmp_path / "cranes.py"
    file.write_text("CLASS_NAMES = ['crane', 'crane', 'tern']\ndef birds():\n    yield {}\n")
    with pytest.raises(DataError, match="has several classes 'crane'"):
        greys_of(f"unpaired:python:{file}:birds#crane,digits#1")


def test_streams_are_refused():
    with pytest.raises(DataError, match="unpaired:digits cannot be streamed"):
        Settings(source="unpaired:digits", streaming=True).check()

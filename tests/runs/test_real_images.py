"""Which real images a translator is scored with."""

import types

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from drifting.runs import real_images
from input_pipeline.decoding import DataError


def put(folder, *greys):
    """A folder of grey pictures of 4x4 pixels."""
    folder.mkdir(parents=True)
    for grey in greys:
        Image.new("L", (4, 4), grey).save(folder / f"{grey}.png")
    return folder


@pytest.fixture
def load(tmp_path):
    """load(source, names, split, **config.data) -> (inputs, reference, held-out grey levels)."""

    def make(source, names=("A", "B"), split=None, **changed):
        data = {"source": source, "split": "train", "test_split": "test", "limit": 0,
                "image_size": 4, "channels": 1, "fit": "resize", "on_corrupt": "error",
                "latent_scale": 1.0, "flip": False}  # fmt: skip
        run = types.SimpleNamespace(
            config=ConfigDict({"data": data | changed}), translates=True, of_images=True,
            data_fingerprint=None, decoder=None, facts=types.SimpleNamespace(class_names=names),
        )  # fmt: skip
        found = real_images.load(run, split, needs_heldout=True)
        assert found.inputs.class_names == names[:1] and found.reference.class_names == names[1:]
        assert not found.inputs.labels.any() and not found.reference.labels.any()
        return [None if s is None else s.images[:, 0, 0, 0].tolist()
                for s in (found.inputs, found.reference, found.heldout)]  # fmt: skip

    return make


@pytest.fixture
def pairs(tmp_path):
    """A folder in the layout of CycleGAN; its path is made first."""
    put(tmp_path / "trainA", 1, 2, 3)
    put(tmp_path / "trainB", 101, 102)
    return tmp_path


def test_images_that_were_not_trained_on_come_first(load, pairs):
    put(pairs / "testA", 4, 5)
    put(pairs / "testB", 103, 104)
    source = f"unpaired:folder:{pairs}"
    assert load(source) == [[4, 5], [103, 104], None]
    assert load(source, split="train") == [[1, 2, 3], [101, 102], [103, 104]]


@pytest.mark.parametrize("there", ["testA", "testB", None])
def test_unless_a_domain_has_none(load, pairs, caplog, there):
    if there:
        put(pairs / there, 9)
    with caplog.at_level("INFO", logger="drifting"):
        assert load(f"unpaired:folder:{pairs}") == [[1, 2, 3], [101, 102], None]
    assert "scores are of the images that were trained on: " in caplog.text
    assert "scores of split 'train': 3 images of 'A', translated, against 2 of 'B'" in caplog.text


def test_two_folders_may_have_test_folders_of_their_own(load, tmp_path):
    for name, grey in (("a", 1), ("b", 101)):
        put(tmp_path / name / "train", grey)
        put(tmp_path / name / "test", grey + 1)
    source = f"unpaired:folder:{tmp_path / 'a'},folder:{tmp_path / 'b'}"
    assert load(source, ("a", "b")) == [[2], [102], None]


def test_unusable_images_are_an_error_rather_than_other_scores(load, pairs):
    put(pairs / "testA", 4)
    (put(pairs / "testB", 103) / "bad.png").write_bytes(b"\x89PNG not really")
    with pytest.raises(DataError, match="testB/bad.png"):
        load(f"unpaired:folder:{pairs}")


def test_a_split_of_one_domain_is_not_taken_by_itself(load, tmp_path, caplog):
    images = np.arange(5, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    path = tmp_path / "set.npz"
    np.savez(path, train_images=images, train_labels=[0, 1, 0, 1, 0],
             test_images=images + 10, test_labels=np.zeros(5, int))  # fmt: skip
    with caplog.at_level("INFO", logger="drifting"):
        assert load(f"npz:{path}", ("0", "1"))[:2] == [[0, 2, 4], [1, 3]]
    assert f"split 'test' of npz:{path} lacks a domain" in caplog.text
    with pytest.raises(DataError, match="split 'test' has no images of '1': choose another"):
        load(f"npz:{path}", ("0", "1"), split="test")

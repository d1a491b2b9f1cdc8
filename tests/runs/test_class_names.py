"""Classes are matched by name across splits, in tests of classifiers and in scores of samples."""

import shutil

import numpy as np
import pytest
from PIL import Image

import drifting
from drifting.runs import evaluate
from drifting.runs.build import build, load_images
from drifting.runs.sampled import InTraining
from input_pipeline.sources import DataError, load

GREYS = {"ant": 10, "bee": 120, "cow": 230}


@pytest.fixture
def photos(tmp_path):
    """Three classes, told apart by their grey; the test split lacks the first."""
    for split, names in (("train", GREYS), ("test", ("bee", "cow"))):
        for name in names:
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(8):
                Image.new("L", (8, 8), GREYS[name] + i).save(folder / f"{i}.png")
    return tmp_path / "photos"


@pytest.fixture
def config(small_classifier, photos):
    return small_classifier(
        **{"data.source": f"folder:{photos}", "data.num_val": 6, "method.batch_size": 8}
    )


def accuracy_by_grey(images):
    """That of a classifier which knows the three greys of training."""
    greys = images.images.mean(axis=(1, 2, 3))
    predicted = np.abs(greys[:, None] - np.asarray([*GREYS.values()])[None]).argmin(axis=1)
    return np.mean(predicted == images.labels)


@pytest.mark.parametrize("empty", [False, True])
def test_a_class_that_the_test_split_lacks_moves_no_label(config, photos, empty):
    if empty:
        (photos / "test" / "ant").mkdir()
    names = build(config).facts.class_names
    found = load_images(config, "test", names)
    assert found.class_names == names == ("ant", "bee", "cow")
    assert accuracy_by_grey(found) == 1.0
    assert accuracy_by_grey(load_images(config, "test")) == 0.0  # by place
    assert found.class_counts == (0, 8, 8)


def test_a_class_that_was_not_trained_on_is_named_before_training(config, photos, tmp_path):
    shutil.copytree(photos / "test" / "bee", photos / "test" / "yak")
    with pytest.raises(DataError, match="'test' has 1 classes .*trained on, 'yak'; .*'ant', 'bee'"):
        drifting.train(config, tmp_path / "run")


def test_scores_of_another_split_use_the_classes_of_training(
    small_config, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(evaluate.scorer, "make_scorers", lambda run, images, *rest: images)
    few = {"method.num_positives": 4, "eval.metrics": ("fid",)}
    run = InTraining(tmp_path, build(small_config(**{"data.source": f"folder:{photos}"} | few)))
    images = evaluate._scorers(run, "test")
    assert images.class_counts == (0, 8, 8)
    shutil.copytree(photos / "test" / "bee", photos / "test" / "yak")
    with pytest.raises(DataError, match="yak"):
        evaluate._scorers(run, "test")


def test_numbered_classes_of_array_files(tmp_path):
    images = np.zeros((6, 8, 8, 1), np.uint8)
    np.savez(
        tmp_path / "set.npz",
        train_images=images, train_labels=np.arange(6) % 3,
        test_images=images[:2], test_labels=[1, 1],
        other_images=images, other_labels=[0, 1, 2, 3, 0, 1],
    )  # fmt: skip
    train, test, other = (
        load(f"npz:{tmp_path / 'set.npz'}", split, image_size=8, channels=1)
        for split in ("train", "test", "other")
    )
    found = test.in_classes(train.class_names)
    assert found.labels.tolist() == [1, 1] and found.class_names == ("0", "1", "2")
    with pytest.raises(DataError, match="trained on, '3'"):
        other.in_classes(train.class_names)
    with pytest.raises(DataError, match="two classes have the same name"):
        test.in_classes(("0", "1", "1"))

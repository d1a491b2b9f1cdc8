import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from drifting.evaluation.metrics import neighbours
from drifting.evaluation.metrics.neighbours import knn_label_accuracy, nearest_distance


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    images = np.round(images * 255 / 16).astype(np.uint8).reshape(-1, 8, 8, 1)
    order = np.random.default_rng(0).permutation(len(images))
    return images[order], labels[order]


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(neighbours, "_QUERY_ROWS", 100)
    monkeypatch.setattr(neighbours, "_REFERENCE_ROWS", 190)  # the last block is shorter than k


def brute_force(queries, references):
    queries = queries.reshape(len(queries), 1, -1).astype(np.float64)
    return np.sqrt(((queries - references.reshape(len(references), -1)) ** 2).sum(-1)) / 255


def test_held_out_digits_are_classified_as_scikit_learn_does(digits):
    images, labels = digits
    real, fake = slice(0, 1350), slice(1350, None)
    accuracy = knn_label_accuracy(images[real], labels[real], images[fake], labels[fake])
    assert accuracy > 0.97
    peer = KNeighborsClassifier(3, algorithm="brute")
    flat = images.reshape(len(images), -1).astype(np.float64)
    peer.fit(flat[real], labels[real])
    assert accuracy == pytest.approx(peer.score(flat[fake], labels[fake]), abs=1 / 447 + 1e-9)
    wrong = (labels[fake] + 1) % 10
    assert knn_label_accuracy(images[real], labels[real], images[fake], wrong) < 0.03


@pytest.mark.parametrize("k", [1, 3, 15])
def test_neighbours_are_those_of_brute_force(digits, small_blocks, k):
    images, _ = digits
    queries, references = images[:150], images[200:1532]
    indices, distances = neighbours._nearest(queries, references, k)
    expected = brute_force(queries, references)
    order = np.argsort(expected, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, np.take_along_axis(expected, order, 1), rtol=1e-12)


def test_near_duplicates_among_large_images_are_exact():
    # In 12,288 dimensions float32 products cannot see one grey level in one pixel.
    generator = np.random.default_rng(0)
    references = generator.integers(0, 256, (60, 64, 64, 3), np.uint8)
    queries = references[:6].copy()
    queries[1:, 5, 7, 1] ^= 1
    copies = references[2:5].copy()
    copies[:, 5, 7, 1] ^= 1  # now queries 2 to 4 have an exact copy too
    found = nearest_distance(queries, np.concatenate([references, copies]))
    np.testing.assert_array_equal(found, np.array([0, 1, 0, 0, 0, 1]) / 255)


def test_equal_votes_go_to_the_lowest_label():
    real = np.array([10, 11, 12], np.uint8).reshape(3, 1, 1, 1)
    fake = np.array([[[[10]]]], np.uint8)
    assert knn_label_accuracy(real, np.array([7, 2, 5]), fake, np.array([2])) == 1.0
    assert knn_label_accuracy(real, np.array([7, 2, 7]), fake, np.array([7])) == 1.0


def test_distance_is_in_units_of_black_to_white():
    black, white = np.zeros((1, 2, 2, 3), np.uint8), np.full((1, 2, 2, 3), 255, np.uint8)
    found = nearest_distance(black, white)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [np.sqrt(12)])


def test_senseless_sets_are_refused():
    images = np.zeros((2, 4, 4, 1), np.uint8)
    labels = np.zeros(2, int)
    with pytest.raises(ValueError, match="need uint8"):
        nearest_distance(images / 255, images)
    with pytest.raises(ValueError, match="bring both to one size"):
        nearest_distance(images, images[:, :2])
    with pytest.raises(ValueError, match="at least one query"):
        nearest_distance(images[:0], images)
    with pytest.raises(ValueError, match="k=3 neighbours of 2 images among 2"):
        knn_label_accuracy(images, labels, images, labels)
    with pytest.raises(ValueError, match="one label per image"):
        knn_label_accuracy(images, labels[:1], images, labels)

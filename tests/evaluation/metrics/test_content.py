"""How much of an image its translation keeps."""

import numpy as np
import pytest

from drifting.evaluation import metrics
from drifting.evaluation.metrics.content import content_similarity


def test_it_is_the_mean_cosine_of_the_pairs():
    first = np.array([[3.0, 4.0], [1.0, 0.0], [2.0, 2.0]], np.float32)
    second = np.array([[4.0, 3.0], [0.0, 7.0], [-1.0, -1.0]], np.float32)
    assert content_similarity(first, second) == pytest.approx((24 / 25 + 0.0 - 1.0) / 3)


def test_it_compares_each_image_with_its_own_translation():
    vectors = np.random.default_rng(0).random((50, 30), np.float32) + 0.1
    shifted = np.roll(vectors, 1, axis=0)
    norms = np.linalg.norm(vectors.astype(float), axis=1)
    expected = np.mean((vectors * shifted).sum(axis=1) / (norms * np.roll(norms, 1)))
    assert content_similarity(vectors, shifted) == pytest.approx(expected, rel=1e-6)


def test_equal_features_are_exactly_1():
    vectors = np.random.default_rng(0).standard_normal((50, 30)).astype(np.float32)
    vectors[3] = 0.0
    assert content_similarity(vectors, vectors.copy()) == 1.0
    assert content_similarity(vectors, 2.0 * vectors) == 1.0


def test_what_became_black_keeps_nothing():
    vectors = np.ones((4, 3), np.float32)
    black = vectors * np.array([[0.0], [1.0], [1.0], [0.0]], np.float32)
    assert content_similarity(vectors, black) == content_similarity(black, vectors) == 0.5


def test_it_is_printed_and_drawn():
    metric = metrics.known()["content"]
    assert metric.words({"content": 0.87654}) == "content 0.8765"
    assert (metric.columns, metric.drawn, metric.ranks_by) == (("content",), "content", "")

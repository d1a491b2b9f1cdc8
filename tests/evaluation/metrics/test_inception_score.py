import numpy as np
import pytest
import scipy.special

from drifting.evaluation import ordering
from drifting.evaluation.metrics import inception_score


def by_class(count, classes=10, seed=0):
    """Logits sorted by the class that they are confident of, as the files of folders are."""
    logits = np.random.default_rng(seed).standard_normal((count, classes)).astype(np.float32)
    logits[np.arange(count), np.arange(count) * classes // count] += 4.0
    return logits


def test_inception_score_of_certain_and_of_uniform_predictions():
    certain = np.tile(50.0 * np.eye(5), (20, 1))
    found = inception_score.inception_score(certain, splits=1)
    np.testing.assert_allclose(found, (5.0, 0.0), atol=1e-6)
    uniform = np.zeros((100, 5))
    np.testing.assert_allclose(inception_score.inception_score(uniform), (1.0, 0.0), atol=1e-6)
    with pytest.raises(ValueError, match="needs at least 10 samples, got"):
        inception_score.inception_score(uniform[:9])


def test_the_order_of_samples_has_no_influence():
    logits = by_class(600)
    found = inception_score.inception_score(logits)
    for rows in (np.arange(600)[::-1], np.random.default_rng(1).permutation(600)):
        assert inception_score.inception_score(logits[rows]) == found
    whole, _ = inception_score.inception_score(logits, splits=1)
    assert found[0] == pytest.approx(whole, rel=0.08)  # one class per split would be about 1
    assert inception_score.inception_score(logits, seed=1) != found


@pytest.mark.parametrize("count", [40, 37, 13])
def test_splits_are_those_of_torch_fidelity(count):
    logits = by_class(count)
    shuffled = logits[ordering.shuffled(logits, seed=0)].astype(np.float64)
    scores = []
    for i in range(10):
        p = scipy.special.softmax(shuffled[i * count // 10 : (i + 1) * count // 10], axis=1)
        divergence = (p * (np.log(p) - np.log(p.mean(axis=0, keepdims=True)))).sum(axis=1)
        scores.append(np.exp(divergence.mean()))
    found = inception_score.inception_score(logits)
    np.testing.assert_allclose(found, (np.mean(scores), np.std(scores)), rtol=1e-12)

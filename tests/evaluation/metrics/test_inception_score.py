import numpy as np
import pytest

from drifting.evaluation.metrics import inception_score


def test_inception_score_of_certain_and_of_uniform_predictions():
    certain = np.tile(50.0 * np.eye(5), (20, 1))
    found = inception_score.inception_score(certain, splits=1)
    np.testing.assert_allclose(found, (5.0, 0.0), atol=1e-6)
    uniform = np.zeros((100, 5))
    np.testing.assert_allclose(inception_score.inception_score(uniform), (1.0, 0.0), atol=1e-6)
    with pytest.raises(ValueError, match="needs at least 10 samples, got"):
        inception_score.inception_score(uniform[:9])

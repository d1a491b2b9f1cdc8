"""A suite of classifiers: a matrix of configs, models and seeds."""

import pytest


def values(**changed):
    """A 2x2x1x2 matrix with any two existing config files."""
    configs = {"first": "configs/digits.py", "second": "configs/mnist.py"}
    axes = {"models": ["small", "large18"], "precisions": ["float32"], "seeds": [0, 3]}
    return {"configs": configs, **axes, **changed}


@pytest.fixture
def write_matrix(tmp_path):
    """write_matrix(**changed) -> path of a suite file with that matrix."""

    def make(**changed):
        path = tmp_path / "toy_suite.py"
        path.write_text(
            "from drifting.suites import Suite, matrix\n"
            f"def get_suite():\n    return Suite(matrix(**{values(**changed)!r}), 'accuracy')\n"
        )
        return path

    return make

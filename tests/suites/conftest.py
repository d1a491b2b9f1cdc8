"""Fixtures that several tests of suites use."""

from matrix_suite import write_matrix
from score_suite import write

__all__ = ["write", "write_matrix"]

"""Fixtures that several tests of suites use."""

from score_suite import write

__all__ = ["write"]

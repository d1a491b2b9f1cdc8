"""Reads the values that array names contain: temperatures, step sizes, guidance scales."""

import re

import numpy as np


def found(g: dict[str, np.ndarray], pattern: re.Pattern) -> list[re.Match]:
    """The matches of a pattern among the names of the arrays; at least one is required."""
    matches = [m for m in map(pattern.fullmatch, g) if m]
    assert matches, pattern.pattern
    return matches

"""What the names of a file's arrays tell: temperatures, step sizes, scales of guidance."""

import re

import numpy as np


def found(g: dict[str, np.ndarray], pattern: re.Pattern) -> list[re.Match]:
    """Matches of a pattern among the arrays' names; there is at least one."""
    matches = [m for m in map(pattern.fullmatch, g) if m]
    assert matches, pattern.pattern
    return matches

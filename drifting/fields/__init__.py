"""Drifting fields, kernel and learned: pure functions of point sets."""

from drifting.fields import kernel, learned, objectives, pairs

__all__ = ["kernel", "learned", "objectives", "pairs"]

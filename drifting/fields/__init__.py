"""Drifting fields: pure functions of point sets."""

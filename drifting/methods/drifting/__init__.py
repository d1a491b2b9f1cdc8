"""Drifting: a generator trained to follow the drift of its own samples."""

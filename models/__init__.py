"""Flax modules only: no losses, no optimisers, no files, no config objects."""

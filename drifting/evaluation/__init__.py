"""Scores of a generator: features, Frechet distance, neighbours, generation, reports."""

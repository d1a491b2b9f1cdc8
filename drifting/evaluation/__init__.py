"""Evaluation of generators: features, metrics, generation of samples, the record of scores."""

"""Metrics of two sets of feature vectors or images, one file each."""

from drifting.evaluation.metrics import (
    energy,
    frechet,
    inception_score,
    kid,
    manifold,
    memorization,
    neighbours,
)

__all__ = [
    "energy",
    "frechet",
    "inception_score",
    "kid",
    "manifold",
    "memorization",
    "neighbours",
]

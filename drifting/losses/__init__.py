"""Losses of image translation and of discriminators: pure functions of arrays."""

from drifting.losses import (
    adversarial,
    diff_augment,
    feature_matching,
    palette,
    patchnce,
    repulsion,
    weights,
)

__all__ = [
    "adversarial",
    "diff_augment",
    "feature_matching",
    "palette",
    "patchnce",
    "repulsion",
    "weights",
]

"""Sources of labelled samples by name; the only place that knows them all.

A new source is a file of this package that ends in SOURCES, and its name below.
"""

import importlib

from drifting.core.errors import did_you_mean
from input_pipeline.decoding import DataError, Source

FILES = (
    "cifar",
    "digits",
    "folder",
    "latents",
    "npy",
    "npz",
    "python",
    "shapes",
    "tfds",
    "tiny_imagenet",
    "toy2d",
)
_MODULES = [importlib.import_module(f"input_pipeline.sources.{name}") for name in FILES]
SOURCES = {source.scheme: source for module in _MODULES for source in module.SOURCES}


def find(name: str) -> Source:
    """The source that config.data.source names; DataError lists all, and the nearest name."""
    scheme, _, _ = name.partition(":")
    if scheme not in SOURCES:
        known = ", ".join(source.usage for source in SOURCES.values())
        hint = did_you_mean(scheme, SOURCES)
        raise DataError(f"unknown data source {name!r}; known are {known}{hint}")
    return SOURCES[scheme]

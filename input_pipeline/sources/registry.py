"""Sources of labelled samples by name; the only place that knows them all.

A new source is a file of this package that ends in SOURCES, and its name below.
"""

import importlib

import numpy as np

from drifting.core.errors import did_you_mean
from input_pipeline import cache
from input_pipeline.decoding import DataError, Decoding, Found, Source, require_split

FILES = (
    "cifar",
    "digits",
    "folder",
    "latents",
    "npy",
    "npz",
    "python",
    "shapes",
    "styles",
    "tfds",
    "tiny_imagenet",
    "toy2d",
    "unpaired",
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


def locate(name: str, split: str, options: Decoding) -> Found:
    """A split of the source that config.data.source names, not yet decoded."""
    source = find(name)
    if source.splits:
        require_split(name, split, source.splits)
    return source.find(name.partition(":")[2], split, options)


def decode(name: str, split: str, options: Decoding, found: Found) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of a located split, from the cache of decoded arrays if it has them."""
    if found.identity is None:
        return found.decode()
    key = [cache.VERSION, name.partition(":")[0], split, options.identity, found.identity]
    return cache.decoded(cache.digest(key), found.decode)

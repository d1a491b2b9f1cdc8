"""Writes a table of the classifiers' parameter counts, from shapes alone.

    python scripts/param_table.py
"""

import functools
import math
import pathlib

import jax
import jax.numpy as jnp
from absl import app, flags

from models import classifiers

OUT = flags.DEFINE_string("out", "docs/parameters.md", "Markdown file to write")

SMALL = ("mobilenetv2", "resnet50", "convnext_tiny")
SIZES = (32, 64)
CLASSES = (10, 100, 200)
IMAGENET = ("mobilenetv2", "resnet18", "resnet50", "convnext_tiny")

HEADER = """# Parameters of the classifiers

Trainable parameters; batch statistics are not counted. The stem follows the image size (see
`stem_for` in models/classifiers.py): 32 and 64 differ in strides and pools, which have no
parameters. The rows of 224 equal torchvision's counts. Written by `python scripts/param_table.py`.

| network | image size | classes | parameters |
| --- | ---: | ---: | ---: |
"""


def count(name, image_size, num_classes):
    """Number of trainable parameters."""
    network = classifiers.create(name, num_classes, image_size)
    images = jnp.zeros((1, image_size, image_size, 3))
    init = functools.partial(network.init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), images)["params"]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def table():
    cases = [(name, size, k) for name in SMALL for size in SIZES for k in CLASSES]
    cases += [(name, 224, 1000) for name in IMAGENET]
    return "".join(f"| {n} | {s} | {k} | {count(n, s, k):,} |\n" for n, s, k in cases)


def main(_):
    text = HEADER + table()
    print(text, end="")
    pathlib.Path(OUT.value).write_text(text)


if __name__ == "__main__":
    app.run(main)

"""Samples as a picture, arrays, or a folder of images, depending on the path."""

import io
import os
import pathlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from drifting.core.files import write_atomically
from drifting.pictures import formats, grids
from drifting.pictures.plane import plot_points

if TYPE_CHECKING:
    from input_pipeline.space import Space


def form_of(out: str | os.PathLike) -> str:
    """What `save_samples` makes of a path: "picture", "arrays" or "folder"."""
    suffix = formats.suffix_of(out)
    return "picture" if suffix in formats.FORMATS else "arrays" if suffix == ".npz" else "folder"


def save_samples(
    samples: np.ndarray,
    labels: np.ndarray,
    space: "Space",
    out: str | os.PathLike,
    reference: np.ndarray | None = None,
) -> None:
    """Saves samples with int32 labels [N] in the form that the suffix of `out` selects.

    Images uint8 [N, H, W, C]. X.png, X.jpg, X.jpeg, X.webp: a grid, ten per row. X.npz: arrays
    `images` and `labels`. Anything else: a folder of PNG files <number>_<label>.png.

    Points float32 [N, 2]. X.png etc.: a scatter plot, over the real points `reference` [M, 2] if
    they are given. X.npz: arrays `points` and `labels`. Anything else: a folder with points.npz.

    Args:
      space: the space of the samples, images or points.
    """
    from input_pipeline.space import Points  # imports JAX, which no other picture needs

    out, form = pathlib.Path(out), form_of(out)
    of_points = isinstance(space, Points)
    if of_points and form == "folder":
        out, form = out / "points.npz", "arrays"
    out.parent.mkdir(parents=True, exist_ok=True)
    if form == "arrays":
        content = io.BytesIO()
        arrays = {"points" if of_points else "images": samples}
        np.savez_compressed(content, **arrays, labels=np.asarray(labels, np.int32))
        write_atomically(out, content.getvalue())
    elif of_points:
        plot_points(samples, reference, out)
    elif form == "picture":
        grids.save_grid(grids.in_rows(samples, min(10, len(samples))), out)
    else:
        out.mkdir(exist_ok=True)
        for i, (image, label) in enumerate(zip(samples, labels, strict=True)):
            pixels = image[..., 0] if image.shape[-1] == 1 else image
            grids.save_picture(Image.fromarray(pixels), out / f"{i:06d}_{label}.png")

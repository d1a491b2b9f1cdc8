"""Pictures, GIF and MP4; importing this package loads neither matplotlib nor JAX.

    grids      images side by side
    samples    samples as a picture, arrays or a folder
    curves     values over training steps
    live       a metric of every step, drawn during training by a process of its own
    confusion  true classes by predicted classes
    spread     values over seeds
    plane      points, fields and paths in the plane
    film       animations of points and of grids
    figures    what all plots share
    attempts   pictures that may fail
    formats    PNG, JPEG and WebP, by the suffix of a path

Use `pictures.plot_lines`, and `from drifting.pictures import film` for animations.
"""

from drifting.pictures.attempts import attempt
from drifting.pictures.confusion import plot_confusion
from drifting.pictures.curves import plot_curves, plot_lines, plot_metric_vs_step
from drifting.pictures.grids import grid_picture, save_grid
from drifting.pictures.plane import VectorField, plot_paths, plot_points, plot_vector_fields
from drifting.pictures.samples import form_of, save_samples
from drifting.pictures.spread import plot_spread

__all__ = [
    "VectorField",
    "attempt",
    "form_of",
    "grid_picture",
    "plot_confusion",
    "plot_curves",
    "plot_lines",
    "plot_metric_vs_step",
    "plot_paths",
    "plot_points",
    "plot_spread",
    "plot_vector_fields",
    "save_grid",
    "save_samples",
]

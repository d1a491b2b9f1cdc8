"""Points in the plane from known distributions, on which a method can be checked in seconds.

Every target is standardised to mean 0 and a mean variance of 1 over both coordinates, by its exact
moments and not by those of a draw, so all draws of a target have the same scale.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np

from drifting.core.errors import did_you_mean
from input_pipeline.decoding import DataError, Decoding, Found, Source, numbered_classes
from input_pipeline.space import Points

SIZES = {"train": 50_000, "test": 10_000}
SEEDS = {"train": 1, "test": 2}

MODES = 8  # of `gaussians`, around a circle of radius 1
MODE_DEVIATION = 0.07
BLOBS = 6
BLOB_SEED = 3
BLOB_DEVIATIONS = (0.04, 0.09)  # of the first and the last blob
MIN_BLOB_DISTANCE = 0.6  # between centres: discs of three deviations never meet
MOON_DEVIATION = 0.08
RING_RADII = (0.5, 1.0)
RING_DEVIATION = 0.04
BOARD = 4  # cells along a side of `checkerboard`; every other one is filled


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of isotropic normal distributions, in the coordinates of the data.

    Attributes:
      centres: float64 [K, 2].
      deviations: float64 [K], the standard deviation of each coordinate.
      weights: float64 [K], sum 1.
    """

    centres: np.ndarray
    deviations: np.ndarray
    weights: np.ndarray

    def deviations_away(self, points: np.ndarray) -> np.ndarray:
        """Distances of points [N, 2] to each centre, in its standard deviations: float64 [N, K].

        1 - exp(-9 / 2) = 98.9 % of a component's own points are within 3.
        """
        gaps = np.asarray(points, np.float64)[:, None, :] - self.centres[None]  # [N, K, 2]
        return np.linalg.norm(gaps, axis=-1) / self.deviations[None]


@dataclasses.dataclass(frozen=True, eq=False)
class Target:
    """A distribution before it is standardised.

    Attributes:
      draw: (generator, labels [N]) -> points [N, 2], one of each labelled component.
      weights: float64 [K], the probability of each component.
      mean: float64 [2].
      variance: the mean over both coordinates.
      class_names: one for each component.
    """

    draw: Callable[[np.random.Generator, np.ndarray], np.ndarray]
    weights: np.ndarray
    mean: np.ndarray
    variance: float
    class_names: tuple[str, ...]


def find(rest: str, split: str, options: Decoding) -> Found:
    """Points of the target `rest`, float32 [N, 2]; no option applies to points."""
    del options
    names = target(rest).class_names

    def decode():
        return draw(rest, SIZES[split], SEEDS[split])

    return Found(None, names, decode)


def draw(name: str, num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`num` independent points of a target, float32 [N, 2], and their components, int32 [N].

    Raises:
      DataError: an unknown target; the nearest is named.
    """
    exact = target(name)
    generator = np.random.default_rng(seed)
    labels = generator.choice(len(exact.weights), num, p=exact.weights).astype(np.int32)
    points = (exact.draw(generator, labels) - exact.mean) / math.sqrt(exact.variance)
    return points.astype(np.float32), labels


def mixture(name: str) -> Mixture:
    """The exact distribution of `gaussians` or `blobs`, in the coordinates of the data.

    Raises:
      DataError: the target is not a mixture of normal distributions.
    """
    if name not in MIXTURES:
        raise DataError(f"toy2d:{name} is not a normal mixture; choose {' or '.join(MIXTURES)}")
    raw, exact = MIXTURES[name](), target(name)
    scale = math.sqrt(exact.variance)
    return Mixture((raw.centres - exact.mean) / scale, raw.deviations / scale, raw.weights)


def target(name: str) -> Target:
    """The target called `name`; DataError names the known ones and the nearest."""
    if name not in TARGETS:
        hint = did_you_mean(name, TARGETS, "toy2d:{}")
        raise DataError(f"unknown target toy2d:{name}; known are {', '.join(TARGETS)}{hint}")
    return TARGETS[name]()


# --- mixtures ------------------------------------------------------------------------------------


def _gaussians() -> Mixture:
    """Equal modes evenly spaced on a circle."""
    angles = 2 * math.pi / MODES * np.arange(MODES)
    deviations = np.full(MODES, MODE_DEVIATION)
    return Mixture(_on_circle(angles), deviations, np.full(MODES, 1 / MODES))


def _blobs() -> Mixture:
    """Random centres in a square; the blobs differ in deviation and weight."""
    generator = np.random.default_rng(BLOB_SEED)
    centres = np.empty((0, 2))
    while len(centres) < BLOBS:
        centre = generator.uniform(-1.0, 1.0, (1, 2))
        if np.all(np.linalg.norm(centres - centre, axis=1) >= MIN_BLOB_DISTANCE):
            centres = np.concatenate([centres, centre])
    weights = generator.uniform(1.0, 3.0, BLOBS)
    return Mixture(centres, np.linspace(*BLOB_DEVIATIONS, BLOBS), weights / weights.sum())


def _of_mixture(make: Callable[[], Mixture]) -> Target:
    raw = make()
    mean = raw.weights @ raw.centres
    squares = np.square(raw.centres - mean).sum(axis=1) / 2 + raw.deviations**2

    def draw(generator, labels):
        noise = generator.standard_normal((len(labels), 2))
        return raw.centres[labels] + raw.deviations[labels, None] * noise

    names = numbered_classes(len(raw.weights))
    return Target(draw, raw.weights, mean, float(raw.weights @ squares), names)


# --- other targets -------------------------------------------------------------------------------


def _moons() -> Target:
    """Two half circles of radius 1, each centred on an end of the other."""

    def draw(generator, labels):
        upper = _on_circle(generator.uniform(0.0, math.pi, len(labels)))
        lower = np.array([[1.0, 0.5]]) - upper
        points = np.where(labels[:, None] == 0, upper, lower)
        return points + MOON_DEVIATION * generator.standard_normal(points.shape)

    # x is cos a or 1 - cos a, y is sin a or 1/2 - sin a; a has E sin a = 2 / pi on a half circle.
    variance_x = 1 / 2 + 1 / 4
    variance_y = 1 / 2 - 2 * (1 / 4) * (2 / math.pi) + 1 / 16
    variance = (variance_x + variance_y) / 2 + MOON_DEVIATION**2
    return Target(draw, np.full(2, 0.5), np.array([0.5, 0.25]), variance, ("upper", "lower"))


def _rings() -> Target:
    """Two concentric circles."""
    radii = np.asarray(RING_RADII)

    def draw(generator, labels):
        angles = generator.uniform(0.0, 2 * math.pi, len(labels))
        points = radii[labels, None] * _on_circle(angles)
        return points + RING_DEVIATION * generator.standard_normal(points.shape)

    variance = float(np.mean(radii**2) / 2 + RING_DEVIATION**2)
    return Target(draw, np.full(2, 0.5), np.zeros(2), variance, ("inner", "outer"))


def _checkerboard() -> Target:
    """Uniform on the cells [i, i + 1] x [j, j + 1] with i + j even, one component per cell."""
    corners = np.argwhere(np.indices((BOARD, BOARD)).sum(axis=0) % 2 == 0)

    def draw(generator, labels):
        return corners[labels] + generator.uniform(0.0, 1.0, (len(labels), 2))

    # Each coordinate alone is uniform on [0, BOARD]: all rows and columns have as many cells.
    names = tuple(f"{i} {j}" for i, j in corners)
    weights = np.full(len(corners), 1 / len(corners))
    return Target(draw, weights, np.full(2, BOARD / 2), BOARD**2 / 12, names)


def _on_circle(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)  # [N, 2]


MIXTURES: dict[str, Callable[[], Mixture]] = {"gaussians": _gaussians, "blobs": _blobs}
TARGETS: dict[str, Callable[[], Target]] = {
    **{name: functools.partial(_of_mixture, make) for name, make in MIXTURES.items()},
    "moons": _moons,
    "rings": _rings,
    "checkerboard": _checkerboard,
}


# float32 points [N, 2] of variance 1: gaussians, blobs, moons, rings or checkerboard.
SOURCES = (Source("toy2d:<name>", find, kind=Points, splits=tuple(SIZES)),)

"""Drawn images of five shapes, at any size: a small data set that needs no file.

An image is a function of its split, its number and the size at which it is drawn.
"""

import math
from collections.abc import Callable

import numpy as np

from input_pipeline.decoding import DataError, Decoding, Found, Source

CLASSES = ("circle", "square", "triangle", "cross", "ring")
SIZES = {"train": 5000, "test": 1000}
SEEDS = {"train": 11, "test": 12}

RADIUS = (0.4, 0.75)  # range of the radius of a shape's circumcircle; the image is 2 wide
CROSS_HALF_WIDTH = 0.3  # of an arm, for a cross of radius 1
RING_HALF_WIDTH = 0.2  # for a ring of radius 1
DARKEST, BRIGHTEST = 0.45, 1.0  # range of a shape's channels
MAX_BACKGROUND = 0.3  # of a background's channels: darker than any shape, in grey as well
CHUNK_PIXELS = 2**20  # pixels drawn at once

# Numbers in [0, 1) that define an image: radius, place [2], angle, hue, background [3].
NUMBERS = 8


def find(rest: str, split: str, options: Decoding) -> Found:
    """5,000 training and 1,000 test images; the class of image i is i modulo 5."""
    if rest:
        raise DataError(f"shapes:{rest} is not a source; set config.data.source = 'shapes'")
    num = SIZES[split]

    def decode():
        return _fitted(split, num, options), np.arange(num) % len(CLASSES)

    return Found(["shapes", num, SEEDS[split]], CLASSES, decode)


def find_overfit(rest: str, split: str, options: Decoding) -> Found:
    """The first images of the training split, each its own class; `test` has the same images.

    Any generator can memorise them, so one that does not has a fault.
    """
    most = SIZES["train"]
    if not rest.isdecimal() or not 1 <= int(rest) <= most:
        raise DataError(
            f"overfit:{rest} is not a source; set config.data.source = 'overfit:<n>' with n, the "
            f"number of images, from 1 to {most}"
        )
    num = int(rest)
    names = tuple(f"{CLASSES[i % len(CLASSES)]} {i}" for i in range(num))
    identity = ["overfit", num, SEEDS["train"]]

    def decode():
        return _fitted("train", num, options), np.arange(num)

    return Found(identity, names, decode)


def _fitted(split: str, num: int, options: Decoding) -> np.ndarray:
    return options.fit_arrays(render(split, num, options.size), "shapes")


def render(split: str, num: int, size: int) -> np.ndarray:
    """The first `num` images of a split, uint8 [N, size, size, 3]."""
    numbers = np.random.default_rng(SEEDS[split]).random((num, NUMBERS))
    shapes = np.arange(num) % len(CLASSES)
    return in_parts(lambda part: _draw(numbers[part], shapes[part], size), num, size)


def in_parts(draw: Callable[[slice], np.ndarray], num: int, size: int) -> np.ndarray:
    """`num` images uint8 [num, size, size, 3], as many at a time as memory should hold.

    Args:
      draw: rows -> their images, float [B, size, size, 3] in [0, 1].
    """
    images = np.empty((num, size, size, 3), np.uint8)
    rows = max(1, CHUNK_PIXELS // size**2)
    for start in range(0, num, rows):
        part = slice(start, start + rows)
        images[part] = np.round(255 * draw(part)).astype(np.uint8)
    return images


def _draw(numbers: np.ndarray, shapes: np.ndarray, size: int) -> np.ndarray:
    """Images [B, size, size, 3] in [0, 1] for numbers [B, 8] and classes [B]."""
    radius = RADIUS[0] + numbers[:, 0] * (RADIUS[1] - RADIUS[0])
    covered = cover(shapes, radius, numbers[:, 1:3], numbers[:, 3], size)
    background = MAX_BACKGROUND * numbers[:, None, None, 5:8]
    colour = _colour(numbers[:, 4])[:, None, None, :]
    return background + covered * (colour - background)


def cover(
    shapes: np.ndarray, radius: np.ndarray, place: np.ndarray, turn: np.ndarray, size: int
) -> np.ndarray:
    """How much of each pixel a shape covers: [B, size, size, 1].

    Args:
      shapes: labels [B] in CLASSES.
      radius: [B] of the circumcircle; the image is 2 wide.
      place: [B, 2] in [0, 1]: from the left to the right and from the top to the bottom, as far as
        the shape stays inside.
      turn: [B], in turns.
    """
    centre = (2 * place - 1) * (1 - radius)[:, None]
    x, y = _own_coordinates(centre, radius, 2 * math.pi * turn, size)
    distance = np.empty_like(x)
    for label, distance_to in enumerate(DISTANCES):
        rows = shapes == label
        distance[rows] = distance_to(x[rows], y[rows])
    # A pixel whose centre is on the edge is half covered: antialiasing without a filter.
    pixels = distance * (radius * size / 2)[:, None, None]
    return np.clip(0.5 - pixels, 0.0, 1.0)[..., None]


def _own_coordinates(
    centre: np.ndarray, radius: np.ndarray, angle: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres x, y [B, size, size] in coordinates where a shape is upright, of radius 1."""
    grid = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    scaled = (1 / radius).astype(np.float32)[:, None]
    x = ((grid[None] - centre[:, :1].astype(np.float32)) * scaled)[:, None, :]
    y = ((grid[None] - centre[:, 1:].astype(np.float32)) * scaled)[:, :, None]
    cos, sin = (f(angle).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
    return cos * x + sin * y, cos * y - sin * x


def _colour(hue: np.ndarray) -> np.ndarray:
    """Bright, saturated colours [B, 3] for hues [B] in [0, 1)."""
    away = np.abs((hue[:, None] - np.arange(3)[None] / 3 + 0.5) % 1.0 - 0.5)  # [B, 3]
    return DARKEST + (BRIGHTEST - DARKEST) * np.clip(2 - 6 * away, 0.0, 1.0)


# --- signed distances of points x, y to the edge, negative inside ---------------------------------


def _circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 1


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - math.sqrt(0.5)


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    slanted = math.sqrt(0.75) * np.abs(x) - y / 2
    return np.maximum(slanted, y) - 0.5


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    length = math.sqrt(1 - CROSS_HALF_WIDTH**2)
    horizontal = np.maximum(x - length, y - CROSS_HALF_WIDTH)
    vertical = np.maximum(x - CROSS_HALF_WIDTH, y - length)
    return np.minimum(horizontal, vertical)


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(x, y) - (1 - RING_HALF_WIDTH)) - RING_HALF_WIDTH


DISTANCES = (_circle, _square, _triangle, _cross, _ring)  # in the order of CLASSES


SOURCES = (
    # The first n of the shapes, each its own class.
    Source("overfit:<n>", find_overfit, splits=tuple(SIZES)),
    # Five drawn shapes in colour.
    Source("shapes", find, splits=tuple(SIZES)),
)

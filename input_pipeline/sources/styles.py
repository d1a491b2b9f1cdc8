"""Two styles of drawn scenes, and the function that takes one to the other.

"plain" has warm shapes on a warm ground, "styled" cold and darker ones on a cold ground. The scenes
of the two are not the same, so nothing is paired; but `restyle` says what the translation of any
plain image should be, pixel by pixel, which no real data set does. It keeps light places light: a
translation that exchanged light and dark would look no less like the target style, and unpaired
images could not tell the two apart.
"""

import math

import numpy as np

from input_pipeline.decoding import DataError, Decoding, Found, Source
from input_pipeline.sources import shapes

CLASSES = ("plain", "styled")
SIZES = {"train": 5000, "test": 1000}
SEEDS = {("plain", "train"): 51, ("styled", "train"): 52, ("plain", "test"): 53,
         ("styled", "test"): 54}  # fmt: skip

MOST = 4  # shapes in a scene, of which the later ones lie on top
PRESENT = (1.0, 1.0, 0.8, 0.5)  # the probability of each
RADIUS = (0.35, 0.65)
# The colour of each kind of shape in shapes.CLASSES. A colour of one kind alone shows which of the
# cold colours it becomes: without that, red and yellow could change places unnoticed.
COLOURS = np.asarray([
    [0.85, 0.10, 0.10], [0.98, 0.75, 0.10], [0.50, 0.05, 0.20], [0.95, 0.40, 0.05],
    [0.40, 0.15, 0.05],
])  # fmt: skip
SHADE = 0.12  # by which a shape may be darker or lighter
LIGHT, DUSK = np.asarray([[0.96, 0.94, 0.86], [0.62, 0.38, 0.24]])  # from one edge to the other

# Numbers in [0, 1) that define a shape: kind, presence, radius, place [2], turn, shade.
NUMBERS = 7


def _restyled() -> np.ndarray:
    """The new value of each byte, which is darker."""
    return np.round(255 * 0.9 * (np.arange(256) / 255) ** 1.6).astype(np.uint8)


TABLE = _restyled()


def restyle(images: np.ndarray) -> np.ndarray:
    """Plain images uint8 [..., C] in the other style: the same scenes, cold and darker.

    Red and blue change places, and each value goes through TABLE.
    """
    return TABLE[images[..., ::-1]]


def find(rest: str, split: str, options: Decoding) -> Found:
    """Scenes that alternate between the two classes."""
    if rest:
        raise DataError(f"styles:{rest} is not a source; set config.data.source = 'styles'")
    num = SIZES[split]

    def decode() -> tuple[np.ndarray, np.ndarray]:
        both = [scenes(name, split, num // 2, options.size) for name in CLASSES]
        plain, other = (options.fit_arrays(images, "styles") for images in both)
        images = np.stack([plain, restyle(other)], axis=1)  # [N / 2, 2, size, size, channels]
        return images.reshape(num, *options.shape), np.arange(num) % 2

    return Found(["styles", num, *SEEDS.values()], CLASSES, decode)


def scenes(name: str, split: str, num: int, size: int) -> np.ndarray:
    """The scenes of a class before they are restyled: uint8 [num, size, size, 3]."""
    numbers = np.random.default_rng(SEEDS[name, split]).random((num, 1 + MOST * NUMBERS))
    return shapes.in_parts(lambda part: _draw(numbers[part], size), num, size)


def _draw(numbers: np.ndarray, size: int) -> np.ndarray:
    """Scenes [B, size, size, 3] in [0, 1]."""
    images = _ground(2 * math.pi * numbers[:, 0], size)
    layers = numbers[:, 1:].reshape(len(numbers), MOST, NUMBERS)
    for i, present in enumerate(PRESENT):
        kind, presence, radius, x, y, turn, shade = layers[:, i].T
        kind = (kind * len(COLOURS)).astype(int)
        radius = RADIUS[0] + radius * (RADIUS[1] - RADIUS[0])
        covered = shapes.cover(kind, radius, np.stack([x, y], axis=1), turn, size)
        covered = covered * (presence < present)[:, None, None, None]
        colours = np.clip(COLOURS[kind] + SHADE * (2 * shade - 1)[:, None], 0.0, 1.0)
        images = images + covered * (colours[:, None, None] - images)
    return images


def _ground(angle: np.ndarray, size: int) -> np.ndarray:
    """A gradient from LIGHT to DUSK in the direction of each angle [B]: [B, size, size, 3]."""
    grid = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = grid[None, None, :], grid[None, :, None]
    cos, sin = (f(angle)[:, None, None] for f in (np.cos, np.sin))
    along = (1 + (cos * x + sin * y) / (np.abs(cos) + np.abs(sin))) / 2  # 0 to 1
    return LIGHT + along[..., None] * (DUSK - LIGHT)


# Two synthetic styles of scenes of shapes, with a known translation of one to the other.
SOURCES = (Source("styles", find, splits=tuple(SIZES)),)

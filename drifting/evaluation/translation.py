"""Translating images of any size: padded, translated by one program per shape, cropped back."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from drifting.core.errors import UserError
from drifting.core.method import Translator
from drifting.core.state import TrainState
from drifting.evaluation.generation import NonFiniteSamples
from input_pipeline import pixels

# Of both sides of what the networks of translators take, see models/resnet_generator.py.
MULTIPLE, LEAST = 4, 8


class Started(NamedTuple):
    """A batch that the device works on.

    Attributes:
      images: uint8 [B, h, w, C], with the padding.
      finite: bool [B].
      shapes: (H, W, C) of each image; there may be fewer than B.
    """

    images: jax.Array
    finite: jax.Array
    shapes: list[tuple[int, int, int]]

    def results(self) -> list[np.ndarray]:
        """The translations, uint8 [H, W, C] each; waits for them.

        Raises:
          NonFiniteSamples: one of them has NaN or infinite values.
        """
        count = len(self.shapes)
        bad = count - int(np.asarray(self.finite)[:count].sum())
        if bad:
            raise NonFiniteSamples(
                f"{bad} of {count} translations have NaN or infinite values: this checkpoint has "
                "diverged; train again with a lower learning rate"
            )
        images = np.asarray(self.images)[:count]
        return [x[:h, :w] for x, (h, w, _) in zip(images, self.shapes, strict=True)]


class TranslateProgram:
    """The translations of one state, from 8 bits to 8 bits; compiled once per padded shape.

    Args:
      state: its weights are arguments of the program, not constants in it.
      ema: whether to use the averaged weights.
    """

    def __init__(self, method: Translator, state: TrainState, ema: bool = True):
        def run(state, stored):
            images = method.translate(state, pixels.to_unit(stored), ema)
            return pixels.to_uint8(images), jnp.isfinite(images).all(axis=(1, 2, 3))

        self._run, self._state = jax.jit(run), state

    def start(self, images: Sequence[np.ndarray], batch_size: int) -> Started:
        """Starts to translate up to batch_size images, uint8 [H, W, C] of one padded size."""
        padded = np.stack([pad(image) for image in images])
        missing = batch_size - len(padded)
        padded = np.pad(padded, ((0, missing), (0, 0), (0, 0), (0, 0)), mode="edge")
        return Started(*self._run(self._state, padded), [image.shape for image in images])


def padded_size(width: int, height: int) -> tuple[int, int]:
    """The size of an image after `pad`."""
    return max(width + -width % MULTIPLE, LEAST), max(height + -height % MULTIPLE, LEAST)


def pad(image: np.ndarray) -> np.ndarray:
    """[H, W, C] mirrored at its right and lower edge, to sides that networks take."""
    height, width, _ = image.shape
    wider, higher = padded_size(width, height)
    return np.pad(image, ((0, higher - height), (0, wider - width), (0, 0)), mode="reflect")


def even_batch(count: int, most: int) -> int:
    """The size of as few batches of at most `most` as hold `count` images, with least padding."""
    batches = -(-count // most)
    return -(-count // batches)


def default_batch(method: Translator, width: int, height: int) -> int:
    """As many images of this size as have the pixels of a training step's batch; at least one."""
    trained = method.batch_size * method.space.shape[0] * method.space.shape[1]
    return max(1, trained // (width * height))


def translate_images(
    method: Translator,
    state: TrainState,
    images: np.ndarray,
    ema: bool = True,
    batch_size: int | None = None,
) -> np.ndarray:
    """The translations of images of one size, any size; uint8 [N, H, W, C] both.

    Raises:
      UserError: the images have another form, the array is empty, or the batch size is below one.
      NonFiniteSamples: translations with NaN or infinite values.
    """
    channels = method.space.shape[-1]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != channels:
        raise UserError(
            f"images to translate are {images.dtype} {images.shape}; this run takes uint8 "
            f"[N, H, W, {channels}]"
        )
    if not images.size:
        raise UserError("no images to translate; give one or more")
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size {batch_size}: must be 1 or more")
    count, height, width, _ = images.shape
    most = batch_size or default_batch(method, *padded_size(width, height))
    size = even_batch(count, most)
    program = TranslateProgram(method, state, ema)
    parts = (program.start(images[i : i + size], size).results() for i in range(0, count, size))
    return np.concatenate([np.stack(part) for part in parts])

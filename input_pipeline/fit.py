"""Brings images of any size and number of channels to the shape in the config."""

import numpy as np
from PIL import Image

MODES = ("resize", "pad")
LUMA = np.asarray([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow's "L"


def fit_image(image: Image.Image, size: int, channels: int, mode: str) -> np.ndarray:
    """A Pillow image as uint8 [size, size, channels].

    `resize` crops the largest centred square and resizes it by Pillow's antialiased bicubic
    filter; `pad` centres the image on black. An image of the right size keeps its bytes.

    Raises:
      ValueError: `pad` with an image larger than `size`.
    """
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (size, size):
        image = _pad(image, size) if mode == "pad" else _crop_and_resize(image, size)
    return np.asarray(image, np.uint8).reshape(size, size, channels)


def fit_array(images: np.ndarray, size: int, channels: int, mode: str) -> np.ndarray:
    """`fit_image` for arrays: uint8 [N, H, W, C], C = 1 or 3, to [N, size, size, channels]."""
    if images.shape[-1] != channels:
        images = _convert(images, channels)
    if images.shape[1:3] == (size, size):
        return np.ascontiguousarray(images)
    squeezed = images[..., 0] if channels == 1 else images
    return np.stack([fit_image(Image.fromarray(x), size, channels, mode) for x in squeezed])


def _convert(images: np.ndarray, channels: int) -> np.ndarray:
    if channels == 3:
        return np.repeat(images[..., :1], 3, axis=-1)
    return np.round(images[..., :3] @ LUMA).astype(np.uint8)[..., None]


def _crop_and_resize(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    return image.resize((size, size), Image.Resampling.BICUBIC)


def _pad(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    if max(width, height) > size:
        raise ValueError(
            f"an image of {width}x{height} cannot be padded to {size}x{size}; set a larger "
            "config.data.image_size, or config.data.fit='resize'"
        )
    canvas = Image.new(image.mode, (size, size))
    canvas.paste(image, ((size - width) // 2, (size - height) // 2))
    return canvas

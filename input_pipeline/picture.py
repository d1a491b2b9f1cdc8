"""The project's only reader of image files, for training and for scoring."""

import errno
import io
import os
import warnings
from collections.abc import Callable
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from drifting.core.errors import UserError
from input_pipeline.decoding import DataError

Image.init()  # registers all formats
# Pillow's others are drawings, video, or need another program; older versions have no AVIF.
FORMATS = [
    name
    for name in ("PNG", "JPEG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
    if name in Image.OPEN
]
EXTENSIONS = {name for name, kind in Image.registered_extensions().items() if kind in FORMATS}
MAX_PIXELS = 2**26  # 8192 x 8192: at most 1.4 GB of memory while it is read (JPEG 2000)
GROUND = "white"  # behind transparent pixels

_TOO_LARGE = f"it has more than the {MAX_PIXELS:,} pixels that are read"
_OF_16_BITS = ((np.arange(65536) + 128) // 257).astype(np.uint8)  # round(v * 255 / 65535)
_BITS_PER_SAMPLE, _PHOTOMETRIC, _TILE_WIDTH, _TILE_LENGTH = 258, 262, 322, 323  # TIFF tags

# Above MAX_PIXELS an image is refused before it is decoded, so Pillow need not warn.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read(path: str | os.PathLike) -> Image.Image:
    """The picture in a file as 8-bit grey (mode L) or colour (mode RGB).

    It is turned as its EXIF orientation says, transparent pixels are laid over white, and 16-bit
    grey values become round(v * 255 / 65535). Of several frames or pages it is the first. Colour
    profiles are ignored.

    Raises:
      DataError: the file is damaged, larger than MAX_PIXELS, or leaves the meaning of its values
        open.
      UserError: the system cannot read the file, which may be in order.
    """
    # Opened here, since Pillow 13 maps a TIFF that it opens itself with the sides of the turned
    # image.
    return _picture(lambda: open(path, "rb"), str(path))


def decode(content: bytes, name: str) -> Image.Image:
    """The picture in the bytes of a file, as `read` returns it; errors call it by `name`."""
    return _picture(lambda: io.BytesIO(content), name)


def _picture(open_file: Callable[[], IO[bytes]], name: str) -> Image.Image:
    try:
        with open_file() as file, Image.open(file, formats=FORMATS) as image:
            _check_size(image)
            _check_values(image)
            ImageOps.exif_transpose(image, in_place=True)
            return _eight_bits(image)
    except Exception as error:  # decoders raise errors of every kind for damaged files
        # A false offset in a file is an invalid argument of seek.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise UserError(f"cannot read image {name}: {error.strerror}") from error
        reason = _reason(error)
        raise DataError(f"cannot read image {name}: {reason}; repair or remove it") from error


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return _TOO_LARGE
    if isinstance(error, UnidentifiedImageError):
        return "it is damaged, or of an unknown format"
    return str(error) or type(error).__name__


def _check_size(image: Image.Image) -> None:
    """Raises ValueError for an image, or the tile of a TIFF, of more than MAX_PIXELS."""
    width, height = image.size
    if image.format == "TIFF":  # its tiles may be larger than the image
        width = max(width, image.tag_v2.get(_TILE_WIDTH, 0))
        height = max(height, image.tag_v2.get(_TILE_LENGTH, 0))
    if width * height > MAX_PIXELS:
        raise ValueError(_TOO_LARGE)


def _check_values(image: Image.Image) -> None:
    """Raises ValueError where the 8-bit values of the pixels would be a guess."""
    mode, kind = image.mode, image.format
    if mode == "F" or (mode == "I" and kind not in ("PNG", "PPM")):
        raise ValueError(
            f"its values are {'floats' if mode == 'F' else 'signed or 32-bit integers'} of unknown "
            "range, not 8 or 16 bits"
        )
    if kind == "TIFF":
        _check_tiff(image)
    coloured_key = kind == "PNG" and mode != "P" and "transparency" in image.info
    if coloured_key and image.tile[0][3] not in ("L", "RGB"):
        raise ValueError(
            "it marks a colour as transparent, which is supported for 8 bits only; save it with an "
            "alpha channel"
        )


def _check_tiff(image: Image.Image) -> None:
    """Raises ValueError where Pillow would return other values than the file means."""
    if image.mode.startswith("I;16"):
        bits, photometric = image.tag_v2[_BITS_PER_SAMPLE][0], image.tag_v2[_PHOTOMETRIC]
        if (bits, photometric) != (16, 1):  # 12 bits are not scaled, and 16 not inverted
            raise ValueError(
                f"TIFF of {bits} bits with photometric interpretation {photometric} is not "
                "supported, only of 8 or 16 bits with black as 0"
            )
    boxes = [tile[1] for tile in image.tile]
    covered = sum((right - left) * (low - high) for left, high, right, low in boxes)
    if covered < image.width * image.height:  # the rest would be black
        raise ValueError("strips or tiles of it are missing")


def _eight_bits(image: Image.Image) -> Image.Image:
    """An upright image of any mode in mode L or RGB."""
    if image.mode.startswith("I"):
        return Image.fromarray(_OF_16_BITS[np.asarray(image)])
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, GROUND)
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return image.convert(mode)

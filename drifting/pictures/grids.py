"""Images side by side in one picture, with headings."""

import math
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from drifting.pictures import formats

FONT_SIZE = 13
INK = (60, 60, 60)
_WIDTH = 400  # pixels, the least


def save_grid(
    images: np.ndarray,
    path: str | os.PathLike,
    row_headings: Sequence[str] = (),
    column_headings: Sequence[str] = (),
    width: int = _WIDTH,
) -> None:
    """Saves `grid_picture` of images uint8 [rows, columns, H, W, C]."""
    save_picture(grid_picture(images, row_headings, column_headings, width), path)


def grid_picture(
    images: np.ndarray,
    row_headings: Sequence[str] = (),
    column_headings: Sequence[str] = (),
    width: int = _WIDTH,
) -> Image.Image:
    """Images uint8 [rows, columns, H, W, C], C = 1 or 3, in one picture with thin gaps.

    They are enlarged by a whole factor, each pixel to a square, to a total of at least `width`
    pixels. Raises ValueError for another dtype or shape, and for a number of headings other than
    that of the rows or columns.
    """
    if images.dtype != np.uint8 or images.ndim != 5 or images.shape[-1] not in (1, 3):
        raise ValueError(
            "a grid needs uint8 images [rows, columns, H, W, C] with C = 1 or 3, "
            f"got {images.dtype} {images.shape}"
        )
    rows, columns = images.shape[:2]
    for headings, count in ((row_headings, rows), (column_headings, columns)):
        if len(headings) not in (0, count):
            raise ValueError(
                f"{len(headings)} headings for {count} rows or columns; give one for each: "
                f"{headings}"
            )
    scale = max(1, math.ceil(width / (columns * images.shape[3])))
    canvas, gap = _tiled(images, scale)
    return _with_headings(canvas, gap, rows, columns, row_headings, column_headings)


def in_rows(images: np.ndarray, columns: int) -> np.ndarray:
    """Images uint8 [N, ...] as [rows, columns, ...]; the last row is padded with white."""
    rows = math.ceil(len(images) / columns)
    grid = np.full((rows * columns, *images.shape[1:]), 255, np.uint8)
    grid[: len(images)] = images
    return grid.reshape(rows, columns, *images.shape[1:])  # [rows, columns, ...]


def _tiled(images: np.ndarray, scale: int) -> tuple[Image.Image, int]:
    """A sheet of the enlarged images with white gaps around each, and the gap in pixels."""
    images = images.repeat(scale, axis=2).repeat(scale, axis=3)
    rows, columns, height, width, channels = images.shape
    gap = max(1, min(height, width) // 24)
    padded = np.full((rows, columns, height + gap, width + gap, channels), 255, np.uint8)
    padded[:, :, :height, :width] = images
    # [rows * (H + gap), columns * (W + gap), C]
    sheet = padded.transpose(0, 2, 1, 3, 4).reshape(rows * (height + gap), -1, channels)
    sheet = np.pad(sheet, ((gap, 0), (gap, 0), (0, 0)), constant_values=255)
    return Image.fromarray(np.broadcast_to(sheet, (*sheet.shape[:2], 3)).copy()), gap


def _with_headings(
    sheet: Image.Image,
    gap: int,
    rows: int,
    columns: int,
    row_headings: Sequence[str],
    column_headings: Sequence[str],
) -> Image.Image:
    """The sheet with headings on its left and above it, each centred on its row or column."""
    font = ImageFont.load_default(FONT_SIZE)
    left = math.ceil(max(map(font.getlength, row_headings))) + 10 if row_headings else 0
    top = FONT_SIZE + 8 if column_headings else 0
    picture = Image.new("RGB", (left + sheet.width, top + sheet.height), "white")
    picture.paste(sheet, (left, top))
    draw = ImageDraw.Draw(picture)
    high, wide = (sheet.height - gap) / rows, (sheet.width - gap) / columns
    for row, text in enumerate(row_headings):
        place = (left - 4, top + gap / 2 + (row + 0.5) * high)
        draw.text(place, text, fill=INK, font=font, anchor="rm")
    for column, text in enumerate(column_headings):
        place = (left + gap / 2 + (column + 0.5) * wide, top / 2 + 2)
        draw.text(place, text, fill=INK, font=font, anchor="mm")
    return picture


def save_picture(picture: Image.Image, path: str | os.PathLike) -> None:
    """Saves one picture; see `formats.save`."""
    formats.save(path, lambda file, kind, options: picture.save(file, kind, **options))

"""Image files of every kind become the 8-bit picture that their author saw, or are refused."""

import contextlib
import errno
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageSequence

from drifting.core.errors import UserError
from input_pipeline import picture
from input_pipeline.decoding import DataError
from input_pipeline.sources import load, load_unresized

EVERY_VALUE = np.arange(65536, dtype=np.uint16).reshape(256, 256)
SCALED = np.round(EVERY_VALUE / 65535 * 255).astype(np.uint8)


def chunk(name, content):
    crc = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + crc


def png(path, values, colour, depth, extra=b"", size=None):
    """Writes a PNG of any kind: `values` [H, ...] are the bytes of its rows."""
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    width, height = size or (values.shape[1], values.shape[0])
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b""))


def tiff(path, *tags, values=b""):
    """Writes a TIFF of one strip or tile with the given (tag, value) pairs, each one long."""
    tags = sorted([*tags, (259, 1), (277, 1)])
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    where = (324, 325) if 322 in dict(tags) else (273, 279)
    tags = sorted([*tags, (where[0], start), (where[1], len(values))])
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + struct.pack("<I", 0)
    path.write_bytes(head + values)


def pixels(path):
    return np.asarray(picture.read(path))


# --- 16 bits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_grey_is_scaled_and_rounded(tmp_path, name):
    kind = np.int32 if name == "a.pgm" else np.uint16  # what Pillow writes as 16 bits
    Image.fromarray(EVERY_VALUE.astype(kind)).save(tmp_path / name)
    found = picture.read(tmp_path / name)
    assert found.mode == "L"
    np.testing.assert_array_equal(np.asarray(found), SCALED)


def test_16_bit_grey_of_the_other_byte_order(tmp_path):
    Image.frombytes("I;16B", (256, 256), EVERY_VALUE.astype(">u2").tobytes()).save(
        tmp_path / "a.tif"
    )
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), SCALED)


@pytest.mark.parametrize("colour, channels", [(2, 3), (6, 4), (4, 2)])
def test_16_bit_colour_is_within_one_level_of_that(tmp_path, colour, channels):
    values = np.random.default_rng(0).integers(0, 65536, (40, 40, channels)).astype(">u2")
    if channels != 3:
        values[..., -1] = 65535  # opaque
    png(tmp_path / "a.png", values, colour, 16)
    found = pixels(tmp_path / "a.png").astype(float)
    shown = values[..., :1] if channels == 2 else values[..., :3]
    assert np.all(np.abs(found - shown * (255 / 65535)) <= 1)


@pytest.mark.parametrize(
    "write, reason",
    [
        (lambda p: Image.fromarray(np.float32([[0.0, 0.5]])).save(p, "TIFF"), "values are floats"),
        (lambda p: Image.fromarray(np.int32([[0, 9]])).save(p, "TIFF"), "signed or 32-bit int"),
        (
            lambda p: tiff(p, (256, 2), (257, 1), (258, 16), (262, 0), values=b"\0\0\xff\xff"),
            "TIFF of 16 bits with photometric interpretation 0 is not supported",
        ),
        (
            lambda p: tiff(p, (256, 2), (257, 1), (258, 12), (262, 1), values=b"\0\x0f\xff"),
            "TIFF of 12 bits with photometric interpretation 1 is not supported",
        ),
        (
            lambda p: tiff(p, (256, 2), (257, 9), (258, 8), (262, 1), (278, 3), values=bytes(18)),
            "strips or tiles of it are missing",
        ),
        (
            lambda p: png(p, np.uint8([[0x40]]), 0, 1, chunk(b"tRNS", b"\0\1"), (2, 1)),
            "marks a colour as transparent",
        ),
        (
            lambda p: png(p, np.zeros((1, 2), ">u2"), 0, 16, chunk(b"tRNS", b"\0\1")),
            "marks a colour as transparent",
        ),
    ],
)
def test_values_whose_meaning_is_open_are_refused(tmp_path, write, reason):
    write(tmp_path / "x.tif")
    with pytest.raises(DataError, match=rf"cannot read image .*x\.tif: .*{reason}.*; repair or r"):
        picture.read(tmp_path / "x.tif")


# --- orientation ---------------------------------------------------------------------------------

TURNS = Image.Transpose
# What was done to the upright picture for each EXIF orientation (TIFF 6.0, tag 274).
STORED = {
    1: None,
    2: TURNS.FLIP_LEFT_RIGHT,
    3: TURNS.ROTATE_180,
    4: TURNS.FLIP_TOP_BOTTOM,
    5: TURNS.TRANSPOSE,
    6: TURNS.ROTATE_90,
    7: TURNS.TRANSVERSE,
    8: TURNS.ROTATE_270,
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "deep.png"])
def test_a_picture_is_turned_upright(tmp_path, orientation, kind):
    upright = np.repeat(np.repeat(np.uint8([[10, 200, 90], [60, 140, 240]]), 8, 0), 8, 1)
    image = Image.fromarray(upright)
    if kind == "deep.png":
        image = Image.fromarray(upright.astype(np.uint16) * 257)
    if STORED[orientation] is not None:
        image = image.transpose(STORED[orientation])
    exif = Image.Exif()
    exif[274] = orientation
    options = {"jpg": {"quality": 100}, "webp": {"lossless": True}}.get(kind, {})
    image.save(tmp_path / f"a.{kind}", exif=exif, **options)
    found = pixels(tmp_path / f"a.{kind}")
    found = found[..., 0] if found.ndim == 3 else found  # WebP has no grey
    assert found.shape == (16, 24)
    assert np.abs(found.astype(int) - upright).max() <= 1


# --- transparency --------------------------------------------------------------------------------

HIDDEN = np.uint8([[[200, 40, 40, 255], [0, 255, 0, 0], [0, 100, 200, 128]]])
ON_WHITE = [[200, 40, 40], [255, 255, 255], [127, 177, 227]]  # a c + (1 - a) 255


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.jp2"])
def test_transparent_pixels_are_laid_over_white(tmp_path, name):
    options = {"lossless": True, "exact": True} if name == "a.webp" else {}
    Image.fromarray(HIDDEN).save(tmp_path / name, **options)
    assert pixels(tmp_path / name)[0].tolist() == ON_WHITE


def test_transparent_grey_stays_grey(tmp_path):
    Image.fromarray(np.uint8([[[200, 255], [7, 0]]]), "LA").save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").tolist() == [[200, 255]]


def test_a_palette_with_transparent_colours(tmp_path):
    image = Image.fromarray(HIDDEN[..., :3]).quantize(3)
    entry = image.getpixel((1, 0))
    image.save(tmp_path / "a.gif", transparency=entry)
    image.save(tmp_path / "a.png", transparency=bytes(0 if i == entry else 255 for i in range(3)))
    for name in ("a.gif", "a.png"):
        assert pixels(tmp_path / name)[0, :2].tolist() == ON_WHITE[:2]


def test_a_transparent_colour(tmp_path):
    Image.fromarray(HIDDEN[..., :3]).save(tmp_path / "a.png", transparency=(0, 255, 0))
    assert pixels(tmp_path / "a.png")[0, :2].tolist() == ON_WHITE[:2]
    Image.fromarray(np.uint8([[7, 8]])).save(tmp_path / "b.png", transparency=7)
    assert pixels(tmp_path / "b.png").tolist() == [[255, 8]]


# --- other kinds ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_the_first_frame_is_read(tmp_path, name):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((9, 20, 30), (250, 250, 250))]
    options = {"lossless": True} if name == "a.webp" else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    with Image.open(tmp_path / name) as image:
        assert len(list(ImageSequence.Iterator(image))) == 2
    assert pixels(tmp_path / name)[2, 2].tolist() == [9, 20, 30]


def test_one_bit_and_four_inks(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").tolist() == [[255, 0]]
    inks = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    inks.save(tmp_path / "a.jpg", quality=100)
    inks.save(tmp_path / "a.tif")
    for name in ("a.jpg", "a.tif"):
        assert np.abs(pixels(tmp_path / name)[4, 4] - np.array([255, 0, 0])).max() <= 2


def test_training_and_scoring_read_the_same_pixels(tmp_path, own_cache):
    Image.fromarray(EVERY_VALUE).save(tmp_path / "a.png")
    Image.fromarray(np.tile(HIDDEN, (256, 86, 1))[:, :256]).save(tmp_path / "b.png")
    trained = load(f"folder:{tmp_path}", image_size=256, channels=3)
    np.testing.assert_array_equal(trained.images, load_unresized(tmp_path).images)
    assert trained.images[0].mean() == pytest.approx(127.5, abs=0.01)
    assert trained.images[1, 0, :3].tolist() == ON_WHITE
    grey = load(f"folder:{tmp_path}", image_size=256, channels=1)
    np.testing.assert_array_equal(grey.images[0, ..., 0], SCALED)


# --- hostile files -------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [8193, 11_000, 20_000, 2**31 - 1])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # pytest resets filters
def test_a_header_of_too_many_pixels_is_refused_by_name(tmp_path, own_cache, side):
    path = tmp_path / "bomb.png"
    png(path, np.zeros((1, 9), np.uint8), 2, 8, size=(side, side))
    with pytest.raises(DataError, match=r"bomb.png: .* more than the 67,108,864 pixels that are"):
        picture.read(path)
    Image.new("L", (4, 4), 7).save(tmp_path / "fine.png")
    with pytest.warns(UserWarning, match="left out 1 unreadable images: .*bomb.png"):
        found = load(f"folder:{tmp_path}", image_size=4, channels=1, on_corrupt="skip")
    assert found.images.shape == (1, 4, 4, 1) and found.images.max() == 7


def test_a_tile_of_too_many_pixels_is_refused(tmp_path):
    size = (256, 16), (257, 16), (258, 8), (262, 1)
    tiff(tmp_path / "a.tif", *size, (322, 40_000), (323, 40_000), values=bytes(256))
    with pytest.raises(DataError, match=r"a.tif: it has more than the 67,108,864 pixels"):
        picture.read(tmp_path / "a.tif")
    tiff(tmp_path / "b.tif", *size, (322, 16), (323, 16), values=bytes(256))
    assert pixels(tmp_path / "b.tif").shape == (16, 16)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000"])
def test_a_damaged_file_raises_nothing_else(tmp_path, kind):
    rng = np.random.default_rng(0)
    path = tmp_path / "a"
    Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(path, kind)
    content = path.read_bytes()
    for _ in range(60):
        changed = np.frombuffer(content, np.uint8).copy()
        where = rng.integers(0, min(len(changed), 200), 3)
        changed[where] = rng.integers(0, 256, 3)
        path.write_bytes(changed[: rng.integers(1, 2 * len(changed))].tobytes())
        with contextlib.suppress(DataError):
            assert picture.read(path).mode in ("L", "RGB")


def test_an_error_of_the_system_is_no_damage_and_skips_nothing(tmp_path, own_cache, monkeypatch):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")

    def failing(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(picture.Image, "open", failing)
    with pytest.raises(UserError, match=r"cannot read image .*a.png: Input/output error$"):
        load(f"folder:{tmp_path}", image_size=4, channels=1, on_corrupt="skip")

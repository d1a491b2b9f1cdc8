"""Array files as other people save them: read as they are meant, or refused in one line."""

import io
import struct
import time
import zipfile

import numpy as np
import pytest

from input_pipeline import arrays
from input_pipeline.sources import DataError, load, open_stream

N = 8
LABELS = np.arange(N) % 4
GREY = np.broadcast_to(60 * LABELS[:, None, None, None], (N, 4, 5, 1)).astype(np.uint8)
RGB = np.concatenate([GREY, 255 - GREY, np.full_like(GREY, 128)], axis=-1)

IMAGES = {
    "channels first": (RGB.transpose(0, 3, 1, 2), r"channels come last: .*transpose\(0, 2, 3, 1\)"),
    "grey, channels first": (GREY.transpose(0, 3, 1, 2), "channels come last"),
    "transparent": (np.concatenate([RGB, GREY], -1), r"blend the transparent.*images\[..., :3\]"),
    "grey and alpha": (np.concatenate([GREY, GREY], -1), r"save images\[..., :1\]"),
    "many channels": (np.concatenate([RGB, RGB], -1), "C = 1 or 3; save only these channels"),
    "fractions": (RGB / 255.0, "images are float64 .*0 to 255"),
    "integers": (RGB.astype(np.int64), "images are int64 .*astype"),
    "masks": (RGB > 100, "images are bool"),
    "objects": (np.array([*RGB, None], object)[:-1], "images are object"),
    "flat": (RGB.reshape(N, -1), r"images are uint8 \(8, 60\).*expected uint8 \[N, H, W, C\]"),
    "one number": (np.uint8(3), r"images are uint8 \(\)"),
    "one image": (RGB[0], r"images are uint8 \(4, 5, 3\), .*images\[None\] if this is one image"),
    "without height": (RGB[:, :0], "no image in them"),
    "none": (RGB[:0], "no image in them"),
    "one fewer": (RGB[:-1], "7 samples but 8 labels"),
}
TEXTS = np.array(["cat", "dog", "fox", "owl"])[LABELS]
LABEL_ARRAYS = {
    "a column": (LABELS[:, None], r"save labels\[:, 0\]"),
    "one-hot": (np.eye(4, dtype=int)[LABELS], r"one-hot, save labels.argmax\(axis=1\)"),
    "one-hot fractions": (np.eye(4)[LABELS], "one-hot"),
    "texts": (TEXTS, "labels are <U3 .*np.unique"),
    "objects": (TEXTS.astype(object), "labels are object .*np.unique"),
    "bytes": (TEXTS.astype("S3"), r"labels are \|S3 .*np.unique"),
    "fractions": (LABELS / 4, "labels are float64"),
    "nan": (np.where(LABELS == 2, np.nan, LABELS), "labels are float64"),
    "masks": (LABELS > 1, "labels are bool"),
    "one number": (np.int64(3), r"labels are int64 \(\)"),
    "negative": (LABELS - 1, "labels are -1 to 2, but must be at least 0"),
    "identifiers": (LABELS + 1000, "1000 to 1003, .*less than the number of samples, 8"),
    "huge": (np.where(LABELS == 3, 2**40, LABELS), "1099511627776"),
    "unsigned": (
        np.where(LABELS == 3, 2**64 - 1, LABELS.astype(np.uint64)),
        "18446744073709551615",
    ),
    "short": (LABELS[:-1], "8 samples but 7 labels"),
    "none": (LABELS[:0], "8 samples but 0 labels"),
}
CASES = [(images, LABELS, message) for images, message in IMAGES.values()]
CASES += [(RGB, labels, message) for labels, message in LABEL_ARRAYS.values()]
NAMES = [f"images: {name}" for name in IMAGES] + [f"labels: {name}" for name in LABEL_ARRAYS]


def save(folder, kind, images, labels):
    if kind == "npz":
        np.savez(folder / "set.npz", images=images, labels=labels)
        return f"npz:{folder / 'set.npz'}"
    np.save(folder / "train_images.npy", images)
    np.save(folder / "train_labels.npy", labels)
    return f"npy:{folder}"


def read(source, split="train"):
    return load(source, split, image_size=4, channels=3)


@pytest.mark.parametrize("kind", ["npz", "npy"])
@pytest.mark.parametrize("images,labels,message", CASES, ids=NAMES)
def test_what_cannot_be_meant_is_refused(tmp_path, kind, images, labels, message):
    with pytest.raises(DataError, match=message) as error:
        read(save(tmp_path, kind, images, labels))
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize("kind", ["npz", "npy"])
@pytest.mark.parametrize(
    "images", [RGB, np.asfortranarray(RGB), GREY, GREY[..., 0]], ids=["rgb", "fortran", "1", "grey"]
)
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i8"])
def test_what_is_meant_is_read(tmp_path, kind, images, dtype):
    found = read(save(tmp_path, kind, images, LABELS.astype(dtype)))
    np.testing.assert_array_equal(found.images[..., 0], GREY[:, :, :4, 0])
    np.testing.assert_array_equal(found.labels, LABELS)
    green = 255 - GREY if images.shape[-1] == 3 else GREY
    np.testing.assert_array_equal(found.images[..., 1], green[:, :, :4, 0])


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_a_small_test_split_may_have_high_labels(tmp_path, kind):
    if kind == "npz":
        arrays = dict(
            train_images=RGB, train_labels=LABELS, test_images=RGB[:2], test_labels=[3, 3]
        )
        np.savez(tmp_path / "set.npz", **arrays)
        source = f"npz:{tmp_path / 'set.npz'}"
    else:
        source = save(tmp_path, kind, RGB, LABELS)
        np.save(tmp_path / "test_images.npy", RGB[:2])
        np.save(tmp_path / "test_labels.npy", [3, 3])
    assert read(source, "test").labels.tolist() == [3, 3]


def test_latents_are_checked_like_images(tmp_path):
    values = np.zeros((N, 4, 4, 3), np.float32)
    for labels, message in LABEL_ARRAYS.values():
        np.save(tmp_path / "train_latents.npy", values)
        np.save(tmp_path / "train_labels.npy", labels)
        with pytest.raises(DataError, match=message):
            open_stream(f"latents:{tmp_path}", image_size=4, channels=3)
    np.save(tmp_path / "train_latents.npy", values[:0])
    with pytest.raises(DataError, match="none of them 0"):
        open_stream(f"latents:{tmp_path}", image_size=4, channels=3)


# --- damage --------------------------------------------------------------------------------------


def header(shape, descr="|u1"):
    """The beginning of an npy file, which says what follows."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def content_of(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


HUGE = (2**36, 4, 4, 3)
LYING = {
    "more than follows": header(HUGE) + bytes(100),
    "more than can be counted": header((2**62, 2**62, 4, 3)) + bytes(100),
    "negative": header((-1, 4, 4, 3)) + bytes(48),
    "no numbers": header(("a", 4, 4, 3)) + bytes(48),
    "nested": b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000,
    "version 9": b"\x93NUMPY\x09\x00" + bytes(100),
    "less than follows": header((1, 4, 4, 3)) + bytes(1000),
}


@pytest.mark.parametrize("name", LYING)
def test_a_header_is_not_believed(tmp_path, name):
    began = time.perf_counter()
    zipped(tmp_path / "set.npz", images=LYING[name], labels=content_of(LABELS))
    with pytest.raises(DataError, match="cannot be read as an npz file.* Save it again"):
        read(f"npz:{tmp_path / 'set.npz'}")
    save(tmp_path, "npy", RGB, LABELS)
    (tmp_path / "train_images.npy").write_bytes(LYING[name])
    with pytest.raises(DataError, match="train_images.npy cannot be read .* with np.save"):
        read(f"npy:{tmp_path}")
    save(tmp_path, "npy", RGB, LABELS)
    (tmp_path / "train_labels.npy").write_bytes(LYING[name])
    with pytest.raises(DataError, match="train_labels.npy"):
        read(f"npy:{tmp_path}")
    assert time.perf_counter() - began < 10


def test_an_archive_that_expands_without_end_is_refused(tmp_path, monkeypatch):
    """Zeros in a thousandth of their size, with headers that agree."""
    monkeypatch.setattr(arrays, "ALWAYS_READ", 2**20)
    zeros = np.zeros((2**16, 4, 4, 3), np.uint8)
    np.savez_compressed(tmp_path / "set.npz", images=zeros, labels=zeros[:, 0, 0, 0])
    with pytest.raises(DataError, match="images.npy expands from .* to 3145856 bytes"):
        read(f"npz:{tmp_path / 'set.npz'}")


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, images=RGB, labels=LABELS)
    whole = path.read_bytes()
    for content in (b"", b"not an archive", whole[:-30], whole[: len(whole) // 2], content_of(RGB)):
        path.write_bytes(content)
        with pytest.raises(DataError, match="set.npz cannot be read as an npz file"):
            read(f"npz:{path}")


@pytest.mark.parametrize("writer", [np.savez, np.savez_compressed])
def test_a_damaged_byte_is_found_or_changes_nothing(tmp_path, writer):
    path = tmp_path / "set.npz"
    noise = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    writer(path, images=noise, labels=[0, 1])
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        try:
            found = read(f"npz:{path}")
        except DataError:
            continue
        np.testing.assert_array_equal(found.images, noise)
        with zipfile.ZipFile(path) as archive:  # a damaged directory may have lost its second line
            assert found.labels.tolist() == [0, 1] or archive.namelist() == ["images.npy"]


def test_labels_of_another_name_are_not_overlooked(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, images=RGB)
    assert read(f"npz:{path}").num_classes == 1
    for name in ("label", "targets", "train_labels"):
        np.savez(path, images=RGB, **{name: LABELS})
        with pytest.raises(DataError, match=f"no array 'labels', but .'{name}'"):
            read(f"npz:{path}")

"""Named sources of labelled images: tfds:<name>, folder:<path>, npz:<path>, digits."""

import dataclasses
import difflib
import functools
import hashlib
import os
import pathlib
import pickle
import re
import socket
import warnings
import zipfile
from collections.abc import Callable

import numpy as np
from PIL import Image
from tqdm import tqdm

from input_pipeline import cache, fit

KNOWN = ("digits", "folder:<path>", "npz:<path>", "tfds:<name>")
EXTENSIONS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
DIGITS_TEST = 300
DIGITS_SPLIT_SEED = 42


class DataError(ValueError):
    """Data that is missing or cannot be used; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """A split of a source, decoded.

    Attributes:
      images: uint8 [N, H, W, C].
      labels: int32 [N].
      class_names: one for each label.
      source, split: as they were asked for.
      fingerprint: changes with the data and with how they were decoded.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    source: str
    split: str
    fingerprint: str

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How images are brought to one shape: see `load`."""

    size: int
    channels: int
    fit: str
    on_corrupt: str


@dataclasses.dataclass(frozen=True)
class Found:
    """A located but not yet decoded split: what identifies it, and how to decode it."""

    identity: object  # JSON values that change with the data
    class_names: tuple[str, ...]
    decode: Callable[[], tuple[np.ndarray, np.ndarray]]


def load(
    source: str,
    split: str = "train",
    *,
    image_size: int,
    channels: int,
    fit: str = "resize",
    on_corrupt: str = "error",
) -> ImageSet:
    """Decodes a split of a source, or takes it from the cache of decoded arrays.

    Args:
      source: `digits` (1,797 real 8x8 digits of scikit-learn), `tfds:<name>`, `folder:<path>`
        (class sub-folders or flat) or `npz:<path>` (arrays `images` and `labels`).
      split: `train`, `test`, or what the source has.
      fit: images of another size are centre-cropped and resized (`resize`, antialiased bicubic)
        or centred on black (`pad`).
      on_corrupt: an unreadable image of a folder is an `error`, or is named and passed over
        (`skip`).

    Raises:
      DataError: missing or unusable data, or an unknown source.
    """
    options = Decoding(image_size, channels, fit, on_corrupt)
    _check_options(options)
    scheme, _, rest = source.partition(":")
    finders = {"digits": _digits, "folder": _folder, "npz": _npz, "tfds": _tfds}
    if scheme not in finders:
        near = difflib.get_close_matches(scheme, finders, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(f"unknown data source {source!r}; known are {', '.join(KNOWN)}.{hint}")
    found = finders[scheme](rest, split, options)
    key = cache.digest([source, split, dataclasses.asdict(options), found.identity])
    images, labels = found.decode() if scheme == "digits" else cache.decoded(key, found.decode)
    return ImageSet(images, labels.astype(np.int32), found.class_names, source, split, key)


def _check_options(options: Decoding) -> None:
    for name, value, known in (
        ("data.fit", options.fit, fit.MODES),
        ("data.on_corrupt", options.on_corrupt, ("error", "skip")),
        ("data.channels", options.channels, (1, 3)),
    ):
        if value not in known:
            raise DataError(f"config.{name} = {value!r} is not one of {known}")


def _fit_arrays(images: np.ndarray, options: Decoding, source: str) -> np.ndarray:
    try:
        return fit.fit_array(images, options.size, options.channels, options.fit)
    except ValueError as error:
        raise DataError(f"{source}: {error}") from error


# --- digits --------------------------------------------------------------------------------------


def _digits(rest: str, split: str, options: Decoding) -> Found:
    """scikit-learn's digits; a fixed stratified split of 1,497 and 300."""
    _require_split("digits", split, ("train", "test"))

    def decode():
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        parts = train_test_split(
            np.arange(len(images)),
            test_size=DIGITS_TEST,
            random_state=DIGITS_SPLIT_SEED,
            stratify=digits.target,
        )
        rows = np.sort(parts[0] if split == "train" else parts[1])
        return _fit_arrays(images[rows], options, "digits"), digits.target[rows]

    return Found("scikit-learn digits", tuple("0123456789"), decode)


def _require_split(source: str, split: str, known: tuple[str, ...]) -> None:
    if split not in known:
        raise DataError(f"{source} has no split {split!r}; it has {', '.join(known)}")


# --- npz -----------------------------------------------------------------------------------------


def _npz(rest: str, split: str, options: Decoding) -> Found:
    """Arrays `<split>_images` and `<split>_labels`, or `images` and `labels` as `train`."""
    path = pathlib.Path(rest).expanduser()
    if not path.is_file():
        raise DataError(f"no file {path}; config.data.source = 'npz:<path>' names an npz file")
    try:
        with np.load(path) as arrays:
            keys = tuple(arrays.files)
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile, pickle.PickleError) as error:
        raise DataError(f"{path} cannot be read as an npz file: {error}") from error
    prefix = f"{split}_" if f"{split}_images" in keys else ""
    if f"{prefix}images" not in keys or (not prefix and split != "train"):
        raise DataError(
            f"{path} has no split {split!r}: it needs the arrays '{split}_images' and "
            f"'{split}_labels' (or 'images' and 'labels' for 'train'), and holds {list(keys)}"
        )
    with np.load(path) as arrays:
        labelled = f"{prefix}labels" in keys
        labels = arrays[f"{prefix}labels"] if labelled else np.zeros(len(arrays[f"{prefix}images"]))
    names = tuple(str(k) for k in range(int(labels.max(initial=0)) + 1))

    def decode():
        with np.load(path) as arrays:
            images = arrays[f"{prefix}images"]
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise DataError(
                f"{path}: images are {images.dtype} {images.shape}, expected uint8 [N, H, W, C]"
            )
        if len(images) != len(labels):
            raise DataError(f"{path}: {len(images)} images but {len(labels)} labels")
        images = images[..., None] if images.ndim == 3 else images
        return _fit_arrays(images, options, str(path)), labels

    return Found([str(path.resolve()), *_stamp(path)], names, decode)


def _stamp(path: pathlib.Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


# --- folder --------------------------------------------------------------------------------------


def _folder(rest: str, split: str, options: Decoding) -> Found:
    """`<path>/<split>` where it exists, else the path itself as `train`."""
    root = pathlib.Path(rest).expanduser()
    if not root.is_dir():
        raise DataError(f"no folder {root}; config.data.source = 'folder:<path>' names a folder")
    if (root / split).is_dir():
        root = root / split
    elif split != "train":
        raise DataError(f"{root} has no folder {split!r} for that split; it serves 'train' alone")
    classes = sorted((d for d in root.iterdir() if d.is_dir()), key=_natural)
    groups = [(d.name, _images_in(d)) for d in classes]
    groups = [(name, files) for name, files in groups if files] or [("all", _images_in(root))]
    files = [(path, label) for label, (_, paths) in enumerate(groups) for path in paths]
    if not files:
        raise DataError(f"no images in {root} ({', '.join(sorted(EXTENSIONS))} are looked for)")
    identity = [[str(p.relative_to(root)), *_stamp(p)] for p, _ in files]
    names = tuple(name for name, _ in groups)
    return Found(identity, names, lambda: _decode_files(files, options))


def load_as_they_are(path: str | os.PathLike) -> ImageSet:
    """All images of a folder and its class sub-folders in their own size, uint8 [N, H, W, 3].

    Raises:
      DataError: no images, an unreadable one, or sizes that differ; the files are named.
    """
    root = pathlib.Path(path).expanduser()
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    folders = [root, *sorted((d for d in root.iterdir() if d.is_dir()), key=_natural)]
    files = [file for folder in folders for file in _images_in(folder)]
    if not files:
        raise DataError(f"no images in {root} ({', '.join(sorted(EXTENSIONS))} are looked for)")
    images = []
    for file in _progress(files, f"reading {root.name}"):
        try:
            with Image.open(file) as image:
                images.append(np.asarray(image.convert("RGB")))
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"cannot read image {file}: {error}; remove it") from error
        if images[-1].shape != images[0].shape:
            raise DataError(
                f"{files[0]} is {_size(images[0])}, {file} is {_size(images[-1])}: bring all "
                "images of a folder to one size first"
            )
    key = cache.digest([[str(f.relative_to(root)), *_stamp(f)] for f in files])
    labels = np.zeros(len(files), np.int32)
    return ImageSet(np.stack(images), labels, ("all",), str(root), "all", key)


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _natural(path: pathlib.Path) -> list:
    """Sorts 2.png before 10.png."""
    return [int(p) if p.isdigit() else p.lower() for p in re.split(r"(\d+)", path.name)]


def _images_in(folder: pathlib.Path) -> list[pathlib.Path]:
    files = (f for f in folder.iterdir() if f.suffix.lower() in EXTENSIONS and f.is_file())
    return sorted(files, key=_natural)


def _decode_files(
    files: list[tuple[pathlib.Path, int]], options: Decoding
) -> tuple[np.ndarray, np.ndarray]:
    images, labels, corrupt = [], [], []
    for path, label in _progress(files, "decoding"):
        try:
            with Image.open(path) as image:
                images.append(fit.fit_image(image, options.size, options.channels, options.fit))
            labels.append(label)
        except (OSError, ValueError, SyntaxError) as error:
            if options.on_corrupt == "error":
                raise DataError(
                    f"cannot read image {path}: {error}. Remove it, or set "
                    "config.data.on_corrupt='skip' to pass such images over"
                ) from error
            corrupt.append(str(path))
    if corrupt:
        shown = ", ".join(corrupt[:5]) + (", ..." if len(corrupt) > 5 else "")
        warnings.warn(f"passed over {len(corrupt)} unreadable images: {shown}", stacklevel=2)
    if not images:
        raise DataError("not one readable image was found; see the warnings above")
    return np.stack(images), np.asarray(labels)


def _progress(items, what: str):
    few = len(items) < 5000
    return tqdm(items, desc=what, unit="img", unit_scale=True, mininterval=2.0, disable=few)


# --- tfds ----------------------------------------------------------------------------------------


def _tfds(name: str, split: str, options: Decoding) -> Found:
    """A TensorFlow Datasets folder in array_record format, read without TensorFlow."""
    builder = _tfds_builder(name)
    known = tuple(builder.info.splits)
    _require_split(f"tfds:{name}", split, known)
    label = builder.info.features["label"]
    names = tuple(label.names) if label.names else tuple(map(str, range(label.num_classes)))
    folder = pathlib.Path(builder.data_dir)
    info = hashlib.sha256((folder / "dataset_info.json").read_bytes()).hexdigest()
    files = sorted((f.name, f.stat().st_size) for f in folder.iterdir() if f.is_file())
    decode = functools.partial(_decode_tfds, builder, split, options)
    return Found([str(builder.info.version), info, files], names, decode)


def _tfds_builder(name: str):
    """A prepared builder; prepares it here where there is a network."""
    # TFDS reads TFDS_DATA_DIR only when it is imported, so the folder is always passed on.
    import tensorflow_datasets as tfds

    data_dir = os.environ.get("TFDS_DATA_DIR") or None
    try:
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        near = difflib.get_close_matches(name, tfds.list_builders(), 3)
        hint = f"; near names: {', '.join(near)}" if near else ""
        raise DataError(f"TensorFlow Datasets has no data set {name!r}{hint}") from error
    except ValueError as error:
        raise DataError(f"tfds:{name} cannot be read as array_record: {error}") from error
    if not builder.is_prepared():
        _prepare(builder, name)
    return builder


def _prepare(builder, name: str) -> None:
    where = pathlib.Path(builder.data_dir).parent.parent
    advice = (
        f"tfds:{name} is not prepared in {where}. Run once with a network, which prepares it "
        "there, or set TFDS_DATA_DIR to a folder that holds a prepared array_record copy"
    )
    try:
        socket.getaddrinfo("storage.googleapis.com", 443)  # TFDS itself retries for minutes
    except OSError as error:
        raise DataError(f"{advice} (there is no network here)") from error
    try:
        builder.download_and_prepare()
    except Exception as error:  # whatever a mirror, a disk or a builder raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{advice} (preparing failed: {reason})") from error


def _decode_tfds(builder, split: str, options: Decoding) -> tuple[np.ndarray, np.ndarray]:
    rows = builder.as_data_source(split=split)
    images, labels = [], []
    for i in _progress(range(len(rows)), f"decoding {builder.name} {split}"):
        row = rows[i]
        images.append(_fit_arrays(row["image"][None], options, f"tfds:{builder.name}")[0])
        labels.append(row["label"])
    return np.stack(images), np.asarray(labels)

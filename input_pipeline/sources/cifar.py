"""The official CIFAR-10 and CIFAR-100 folders, binary or pickled.

Formats: Krizhevsky, "Learning multiple layers of features from tiny images", 2009, and
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import dataclasses
import functools
import pathlib

import numpy as np

from input_pipeline import cache, plain_pickle
from input_pipeline.decoding import DataError, Decoding, Found, Source, numbered_classes

SHAPE = (32, 32, 3)
PIXELS = 3072
MAX_BYTES = 2**30  # the largest official file has 155 MB
SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class Archive:
    """The layout of one of the two data sets.

    Attributes:
      folders: names of the binary and of the pickled folder.
      files: their names by split, without the suffix .bin of binary files.
      label_bytes: bytes before the pixels of a binary record; the last of them is the label.
      label_key: the key of the labels in a pickle.
      names_text, names_pickle: the files of class names in the binary and in the pickled folder.
      names_key: the key of the class names in names_pickle.
    """

    source: str
    num_classes: int
    folders: tuple[str, str]
    files: dict[str, tuple[str, ...]]
    label_bytes: int
    label_key: str
    names_text: str
    names_pickle: str
    names_key: str


_CIFAR10 = Archive(
    source="cifar10",
    num_classes=10,
    folders=("cifar-10-batches-bin", "cifar-10-batches-py"),
    files={"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
    label_bytes=1,
    label_key="labels",
    names_text="batches.meta.txt",
    names_pickle="batches.meta",
    names_key="label_names",
)
_CIFAR100 = Archive(
    source="cifar100",
    num_classes=100,
    folders=("cifar-100-binary", "cifar-100-python"),
    files={"train": ("train",), "test": ("test",)},
    label_bytes=2,  # coarse, then fine
    label_key="fine_labels",
    names_text="fine_label_names.txt",
    names_pickle="meta",
    names_key="fine_label_names",
)


def _find(archive: Archive, rest: str, split: str, options: Decoding) -> Found:
    """The split in one of archive.folders, or in the folder that holds one of them."""
    folder, suffix = _locate(archive, pathlib.Path(rest).expanduser())
    files = [folder / f"{name}{suffix}" for name in archive.files[split]]
    for file in files:
        if not file.is_file():
            raise DataError(f"{file} is missing; unpack the official archive again")
        if (size := file.stat().st_size) > MAX_BYTES:
            raise DataError(
                f"{file} has {size} bytes, more than any file of {archive.source}; unpack the "
                "official archive again"
            )
    read = _read_binary if suffix else _read_pickle
    names = _class_names(archive, folder, binary=bool(suffix))

    def decode():
        parts = [_checked(archive, file, *read(archive, file)) for file in files]
        images, labels = (np.concatenate(x) for x in zip(*parts, strict=True))
        return options.fit_arrays(images, str(folder)), labels

    identity = None if options.keeps(SHAPE) else cache.identity(folder, files)
    return Found(identity, names, decode)


def _locate(archive: Archive, root: pathlib.Path) -> tuple[pathlib.Path, str]:
    """The folder that holds the files, and their suffix; binary files are preferred."""
    names = [name for split in archive.files.values() for name in split]
    for suffix in (".bin", ""):
        for folder in (root, *(root / name for name in archive.folders)):
            if any((folder / f"{name}{suffix}").is_file() for name in names):
                return folder, suffix
    raise DataError(
        f"no {archive.source} files in {root}: config.data.source = '{archive.source}:<folder>' "
        f"names the unpacked {' or '.join(archive.folders)}, or the folder that holds it"
    )


def _read_binary(archive: Archive, file: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    data = np.fromfile(file, np.uint8)
    record = archive.label_bytes + PIXELS
    if len(data) == 0 or len(data) % record:
        raise DataError(
            f"{file} has {len(data)} bytes, not a multiple of the {record} bytes of an image: "
            "it is truncated or another file; unpack the official archive again"
        )
    rows = data.reshape(-1, record)
    return rows[:, archive.label_bytes :], rows[:, archive.label_bytes - 1]


def _read_pickle(archive: Archive, file: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    values = plain_pickle.read(file)
    pixels, labels = values.get("data"), values.get(archive.label_key)
    if not isinstance(pixels, np.ndarray) or not isinstance(labels, list | np.ndarray):
        raise DataError(
            f"{file} holds {sorted(values)}, not the array 'data' and the list "
            f"{archive.label_key!r}; unpack the official archive again"
        )
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        raise DataError(
            f"{file}: 'data' is {pixels.dtype} {pixels.shape}, expected uint8 [N, {PIXELS}]; "
            "unpack the official archive again"
        )
    return pixels, labels


def _checked(
    archive: Archive, file: pathlib.Path, pixels: np.ndarray, labels: np.ndarray | list
) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 32, 32, 3] from red, green and blue planes [N, 3072], and labels in range."""
    try:
        labels = np.asarray(labels)
    except ValueError:  # a ragged list
        labels = np.asarray([None])
    if labels.shape != (len(pixels),) or labels.dtype.kind not in "iu" or len(pixels) == 0:
        raise DataError(
            f"{file} holds {len(pixels)} images and labels {labels.dtype} {labels.shape}, "
            "expected one integer per image; unpack the official archive again"
        )
    if labels.min() < 0 or labels.max() >= archive.num_classes:
        raise DataError(
            f"{file} has labels from {labels.min()} to {labels.max()}, expected 0 to "
            f"{archive.num_classes - 1}: it is damaged or not of {archive.source}; unpack the "
            "official archive again"
        )
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels  # [N, 32, 32, 3]


def _class_names(archive: Archive, folder: pathlib.Path, binary: bool) -> tuple[str, ...]:
    """The archive's own names, or numbers if its file of names is absent."""
    path = folder / (archive.names_text if binary else archive.names_pickle)
    if not path.is_file():
        return numbered_classes(archive.num_classes)
    if binary:
        lines = path.read_text(errors="replace").splitlines()
        names = [line.strip() for line in lines if line.strip()]
    else:
        names = plain_pickle.read(path).get(archive.names_key)
    names = names if isinstance(names, list) else []
    names = tuple(n.decode(errors="replace") if isinstance(n, bytes) else str(n) for n in names)
    if len(names) != archive.num_classes:
        raise DataError(
            f"{path} has {len(names)} class names, expected {archive.num_classes}; unpack the "
            "official archive again, or remove the file to use numbers as names"
        )
    return names


# The official folders, binary or pickled, with the fine labels of CIFAR-100.
SOURCES = (
    Source("cifar10:<folder>", functools.partial(_find, _CIFAR10), splits=SPLITS),
    Source("cifar100:<folder>", functools.partial(_find, _CIFAR100), splits=SPLITS),
)

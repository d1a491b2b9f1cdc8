"""Tiny-ImageNet, 200 classes of 64x64 images (Stanford CS231n): the official folder, or arrays."""

import pathlib

from input_pipeline import image_files
from input_pipeline.decoding import DataError, Decoding, Found, NoSplit, Source
from input_pipeline.listing import Listing
from input_pipeline.sources import npy

FOLDER = "tiny-imagenet-200"
PREFIX = "tiny_imagenet_"  # of <split>_images.npy and <split>_labels.npy


def find(rest: str, split: str, options: Decoding) -> Found:
    """tiny-imagenet-200, the folder that holds it, or one with tiny_imagenet_<split>_*.npy.

    `train` is the official train folder, 500 images per class. `test` is the official val folder,
    50 images per class: the official test folder has no labels. Classes are in the order of their
    WordNet identifiers; each is named by its first synonym in words.txt. Of arrays, the labels say
    which class is which, and a class is named by its number.
    """
    root = pathlib.Path(rest).expanduser()
    root = root / FOLDER if (root / FOLDER).is_dir() else root
    if split not in ("train", "test"):
        raise NoSplit(
            f"tiny_imagenet has no split {split!r}; it has train and test; test is the official "
            "val folder (the official test folder has no labels)"
        )
    if not (root / "wnids.txt").is_file() and any(root.glob(f"{PREFIX}*.npy")):
        return npy.in_folder(root, "tiny_imagenet", PREFIX, split, options)
    wnids = sorted(_lines(root / "wnids.txt"))
    files = _train(root, wnids) if split == "train" else _val(root, wnids)
    return image_files.of_files(root, files, _names(root, wnids), options)


def _lines(path: pathlib.Path) -> list[str]:
    """The lines that are not blank."""
    if not path.is_file():
        raise DataError(
            f"{path} is missing: config.data.source = 'tiny_imagenet:<folder>' names the unpacked "
            f"{FOLDER}, the folder that holds it, or one with {PREFIX}<split>_images.npy and "
            f"{PREFIX}<split>_labels.npy"
        )
    return [line for line in path.read_text(errors="replace").splitlines() if line.strip()]


def _names(root: pathlib.Path, wnids: list[str]) -> tuple[str, ...]:
    path = root / "words.txt"
    entries = [line.partition("\t") for line in _lines(path)] if path.is_file() else []
    words = {wnid: synonyms.split(",")[0].strip() for wnid, _, synonyms in entries}
    return tuple(words.get(wnid) or wnid for wnid in wnids)


def _train(root: pathlib.Path, wnids: list[str]) -> list[tuple[pathlib.Path, int]]:
    files, listing = [], Listing(root)
    for label, wnid in enumerate(wnids):
        folder = root / "train" / wnid / "images"
        found = listing.images(folder) if folder.is_dir() else []
        if not found:
            raise DataError(
                f"no images in {folder}, but {root / 'wnids.txt'} lists {wnid}; unpack the "
                "official archive again"
            )
        files += [(file, label) for file in found]
    listing.warn()
    return files


def _val(root: pathlib.Path, wnids: list[str]) -> list[tuple[pathlib.Path, int]]:
    annotations = root / "val" / "val_annotations.txt"
    labels = dict(_annotation(annotations, line, wnids) for line in _lines(annotations))
    folder, listing = root / "val" / "images", Listing(root)
    files = listing.images(folder) if folder.is_dir() else []
    names = {file.name for file in files}
    for name in labels.keys() ^ names:
        where = f"in {folder}" if name not in names else f"listed in {annotations}"
        raise DataError(f"{name} is not {where}; unpack the official archive again")
    if not files:
        raise DataError(f"no images in {folder}; unpack the official archive again")
    listing.warn()
    return [(file, labels[file.name]) for file in files]


def _annotation(path: pathlib.Path, line: str, wnids: list[str]) -> tuple[str, int]:
    """The file name and label of `name<tab>wnid<tab>box`."""
    fields = line.split("\t")
    if len(fields) < 2 or fields[1].strip() not in wnids:
        raise DataError(
            f"{path}: {line!r} is not a file name and a class of wnids.txt, separated by a tab; "
            "unpack the official archive again"
        )
    return fields[0], wnids.index(fields[1].strip())


# The official folder, whose validation images are the split `test`; or
# `tiny_imagenet_<split>_images.npy` and `tiny_imagenet_<split>_labels.npy`, memory-mapped.
SOURCES = (Source("tiny_imagenet:<folder>", find, streams=True),)

"""Random changes of files, for fuzz.py."""

import io
import re
import zipfile

import numpy as np

# What takes the place of a number in JSON, in the header of an npy file or in a table.
VALUES = (
    b"0", b"-1", b"1.5", b"1e400", b"NaN", b"null", b"true", b"[]", b"{}", b'"x"', b"4294967296",
    b"99999999999999999999",
)  # fmt: skip


def changed(files: dict[str, bytes], rng: np.random.Generator) -> dict[str, bytes]:
    """The files by name, with one to three changes in one of them; rarely one is missing."""
    name = sorted(files)[rng.integers(len(files))]
    if rng.random() < 0.02:
        return {other: content for other, content in files.items() if other != name}
    content = files[name]
    for _ in range(rng.integers(1, 4)):
        content = _change(content, rng)
    return files | {name: content}


def _change(content: bytes, rng: np.random.Generator) -> bytes:
    """One change, half of those of an archive in one of its members."""
    if rng.random() < 0.5 and zipfile.is_zipfile(io.BytesIO(content)):
        return _in_member(content, rng)
    return CHANGES[rng.integers(len(CHANGES))](content, rng)


def _in_member(content: bytes, rng: np.random.Generator) -> bytes:
    """A zip archive whose checksums are right after a change: a damaged npy in a valid npz."""
    changed = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(changed, "w") as new:
            names = old.namelist()
            chosen = names[rng.integers(len(names))] if names else None
            for name in names:
                member = old.read(name)
                new.writestr(name, _change(member, rng) if name == chosen else member)
    except Exception:  # the archive was damaged by an earlier change
        return content
    return changed.getvalue()


def _flip_bit(content: bytes, rng: np.random.Generator) -> bytes:
    if not content:
        return content
    at = _place(content, rng)
    return content[:at] + bytes([content[at] ^ (1 << rng.integers(8))]) + content[at + 1 :]


def _truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content) + 1)]


def _insert(content: bytes, rng: np.random.Generator) -> bytes:
    at = _place(content, rng)
    return content[:at] + rng.bytes(rng.integers(1, 9)) + content[at:]


def _repeat(content: bytes, rng: np.random.Generator) -> bytes:
    start, stop = sorted(rng.integers(len(content) + 1, size=2))
    return content[:stop] + content[start:stop] + content[stop:]


def _remove(content: bytes, rng: np.random.Generator) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + rng.integers(1, 17) :]


def _fill(content: bytes, rng: np.random.Generator) -> bytes:
    """One to eight bytes become the least or the largest integer, as in a length or an offset."""
    at, size = _place(content, rng), int(rng.choice([1, 2, 4, 8]))
    return content[:at] + rng.choice([b"\xff", b"\x7f", b"\0"]) * size + content[at + size :]


def _replace_number(content: bytes, rng: np.random.Generator) -> bytes:
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", content[:4096]))
    if not numbers:
        return content
    start, stop = numbers[rng.integers(len(numbers))].span()
    return content[:start] + VALUES[rng.integers(len(VALUES))] + content[stop:]


def _place(content: bytes, rng: np.random.Generator) -> int:
    """A position, every second time in the first 128 bytes, where headers are."""
    most = len(content) if rng.random() < 0.5 else min(128, len(content))
    return int(rng.integers(max(most, 1)))


CHANGES = (_flip_bit, _truncate, _insert, _repeat, _remove, _fill, _replace_number)

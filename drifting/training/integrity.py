"""Detects damaged checkpoints by a manifest of SHA-256 hashes, which is written last.

Orbax has no checksum of its own: a flipped bit in one of its files is restored without an error.
"""

import hashlib
import json
import pathlib

from drifting.core.files import write_atomically

MANIFEST = "manifest.json"


def find_damage(step_folder: pathlib.Path) -> str | None:
    """How a checkpoint differs from its manifest; None if it does not."""
    try:
        hashes = json.loads((step_folder / MANIFEST).read_text())
    except FileNotFoundError:
        return "it was not finished"
    except ValueError:
        return "its manifest is damaged"
    for name, expected in hashes.items():
        path = step_folder / name
        if not path.is_file():
            return f"{name} is missing"
        if _sha256(path) != expected:
            return f"{name} is truncated or changed"
    return None


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(step_folder: pathlib.Path) -> None:
    """Writes the manifest of a finished checkpoint."""
    files = sorted(f for f in step_folder.rglob("*") if f.is_file())
    hashes = {str(f.relative_to(step_folder)): _sha256(f) for f in files}
    write_atomically(step_folder / MANIFEST, json.dumps(hashes).encode())

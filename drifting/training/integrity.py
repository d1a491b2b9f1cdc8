"""Detects damaged checkpoints by a manifest of SHA-256 hashes, which is written last.

Orbax has no checksum of its own: a flipped bit in one of its files is restored without an error.
The manifest also holds the step, since a renamed folder has the right hashes.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Sequence

from drifting.core.files import write_json

MANIFEST = "manifest.json"


def is_sealed(step_folder: pathlib.Path) -> bool:
    """Whether a checkpoint has a manifest; neither is read."""
    return os.path.lexists(step_folder / MANIFEST)


def find_damage(step_folder: pathlib.Path, only: Sequence[str] | None = None) -> str | None:
    """How a checkpoint differs from its manifest; None if it does not.

    Args:
      only: the files to compare, as paths in the folder; all if None.
    """
    if not step_folder.is_dir():
        return "it is not a folder" if os.path.lexists(step_folder) else "it was removed"
    if not is_sealed(step_folder):
        return "it was not finished"
    try:
        step, hashes = _read_manifest(step_folder / MANIFEST)
    except OSError as error:
        return f"its manifest cannot be read ({error.strerror})"
    except (ValueError, RecursionError):
        return "its manifest is damaged"
    if step is not None and str(step) != step_folder.name:
        return f"it is the checkpoint of step {step}, renamed"
    for name in hashes if only is None else only:
        try:
            if _sha256(step_folder / name) != hashes.get(name):
                return f"{name} is truncated or changed"
        except FileNotFoundError:
            return f"{name} is missing"
        except (OSError, ValueError) as error:  # ValueError: such a name cannot exist
            return f"{name} cannot be read ({getattr(error, 'strerror', error)})"
    return None


def sealed_step(step_folder: pathlib.Path) -> int | None:
    """The step in the manifest; None if that is missing, damaged, or of an older version."""
    try:
        return _read_manifest(step_folder / MANIFEST)[0]
    except (OSError, ValueError, RecursionError):
        return None


def is_listed(step_folder: pathlib.Path, name: str) -> bool:
    """Whether the manifest has a file; also false if that is missing or damaged."""
    try:
        return name in _read_manifest(step_folder / MANIFEST)[1]
    except (OSError, ValueError, RecursionError):
        return False


def _read_manifest(path: pathlib.Path) -> tuple[int | None, dict[str, str]]:
    """The step, which manifests of older versions lack, and the hash of each file.

    Raises:
      ValueError, RecursionError: it is not a manifest.
      OSError: it cannot be read.
    """
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if "files" not in content:  # of an older version: the hashes alone
        content = {"step": None, "files": content}
    step, hashes = content.get("step"), content["files"]
    if type(step) not in (int, type(None)) or not isinstance(hashes, dict) or not hashes:
        raise ValueError("no step, or no hashes")
    return step, hashes


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(step_folder: pathlib.Path, step: int) -> None:
    """Writes the manifest of a finished checkpoint."""
    files = sorted(f for f in step_folder.rglob("*") if f.is_file())
    hashes = {str(f.relative_to(step_folder)): _sha256(f) for f in files}
    write_json(step_folder / MANIFEST, {"step": step, "files": hashes})

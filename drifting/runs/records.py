"""What a start of a run writes down: config.json and a line of history.jsonl."""

import datetime
import importlib.metadata
import pathlib
import re
import subprocess
import sys
from typing import Any

import jax
from jax.extend import backend

from drifting.core import config as config_lib
from drifting.core import json_lines
from drifting.training.parts import Parts

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
OF_CUDA = re.compile(r"jax-cuda\d+-plugin|nvidia-(cuda-runtime|cudnn)(-cu\d+)?")
DRIVER = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
COMMIT = ("git", "rev-parse", "HEAD")


def record(
    workdir: pathlib.Path, parts: Parts, note: str | None = None, resumed: int | None = None
) -> bytes:
    """Appends the start to history.jsonl and writes config.json.

    config.json has all that is needed to repeat the run, or to open it without its data.

    Args:
      note: of the user, about this start.
      resumed: the step of the checkpoint that the run resumes from, if it does.

    Returns:
      The contents of config.json, which each checkpoint is saved with.
    """
    path, changed = workdir / "config.json", {}
    if resumed is not None:
        changed = config_lib.changes(config_lib.read(path)[0], parts.config)
    machine = {
        "versions": versions(),
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "git_commit": _first_line_of(COMMIT),
        "data_fingerprint": parts.whole.fingerprint,
    }
    start = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "argv": sys.argv,
        "note": note,
        "step": resumed or 0,
        "resumed": resumed is not None,
        "changed": {key: {"old": old, "new": new} for key, (old, new) in changed.items()},
    }
    # First: if the process is killed in between, the next start finds the same changes.
    rows, others = json_lines.read(workdir / "history.jsonl")
    json_lines.write(workdir / "history.jsonl", [*rows, {**start, **machine}], others)
    config_lib.write(path, parts.config, {**machine, "data": parts.facts.to_json()})
    return path.read_bytes()


def versions() -> dict[str, str]:
    """The versions of packages and, on an NVIDIA GPU, of CUDA, cuDNN and the driver."""
    found: dict[str, Any] = {name: importlib.metadata.version(name) for name in PACKAGES}
    if jax.devices()[0].platform == "gpu":
        found["platform"] = " ".join(backend.get_backend().platform_version.split())
        installed = importlib.metadata.distributions()
        found |= {d.name: d.version for d in installed if OF_CUDA.fullmatch(d.name.lower())}
        found["driver"] = _first_line_of(DRIVER)
    return {name: version for name, version in found.items() if version}


def _first_line_of(command: tuple[str, ...]) -> str | None:
    """The first line that a command prints; None if it fails, or is not installed."""
    root = pathlib.Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.partition("\n")[0].strip()

"""The one file from which a PyTorch run resumes; the best state is in it as well."""

import pathlib
import pickle
from typing import Any

import torch

from drifting.core import files
from drifting.core.errors import UserError
from drifting.suites.folder import TORCH_CHECKPOINT


class DamagedCheckpoint(UserError):
    """A checkpoint that cannot be read."""


def path_in(workdir: pathlib.Path) -> pathlib.Path:
    return workdir / "checkpoints" / TORCH_CHECKPOINT


def save(workdir: pathlib.Path, content: dict[str, Any], device: torch.device) -> None:
    """Writes `content` and the states of PyTorch's generators, whole or not at all."""
    path = path_in(workdir)
    path.parent.mkdir(exist_ok=True)
    generators = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        generators["cuda"] = torch.cuda.get_rng_state(device)
    with files.replacing(path) as file:
        torch.save({**content, "generators": generators}, file)


def load(workdir: pathlib.Path, device: torch.device) -> dict[str, Any] | None:
    """What `save` wrote, with tensors on the device; None if there is none.

    The generators continue as they were, except on a GPU if the run was on a CPU before.

    Raises:
      DamagedCheckpoint: the file cannot be read.
    """
    path = path_in(workdir)
    for left in path.parent.glob(f".{path.name}.*.tmp"):  # by a process that was killed
        left.unlink()
    if not path.exists():
        return None
    try:
        found = torch.load(path, map_location=device, weights_only=True)
        generators = found.pop("generators")
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise DamagedCheckpoint(
            f"{path} is damaged and cannot be resumed ({type(error).__name__}); restore it from a "
            "copy, or train in another --workdir"
        ) from error
    torch.set_rng_state(generators["cpu"].cpu())
    if device.type == "cuda" and "cuda" in generators:
        torch.cuda.set_rng_state(generators["cuda"].cpu(), device)
    return found

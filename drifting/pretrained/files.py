"""Weight files: flat dicts of NumPy arrays, from PyTorch's format or safetensors."""

import os
import pathlib
import pickle
from collections.abc import Callable, Mapping

import numpy as np
import safetensors
import safetensors.numpy

from drifting.core.errors import UserError
from drifting.core.files import write_atomically

Reader = Callable[[pathlib.Path], dict[str, np.ndarray]]


class WeightsError(UserError):
    """Weights are missing or cannot be used; the message says what to do."""


def read(path: str | os.PathLike, readers: Mapping[str, Reader], advice: str) -> dict:
    """The arrays of a file, read by the reader for its suffix.

    Args:
      readers: by suffix, such as ".pth".
      advice: how to get the file, for the message if it is missing.

    Raises:
      WeightsError: the file is missing, has another suffix, or cannot be read.
    """
    path = pathlib.Path(path).expanduser()
    kind = path.suffix.lower()
    if kind not in readers:
        raise WeightsError(f"{path}: unknown kind of weight file; use one of {', '.join(readers)}")
    if not path.is_file():
        raise WeightsError(f"no weights at {path}; {advice}")
    try:
        return readers[kind](path)
    except WeightsError:
        raise
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, AttributeError, TypeError,
            pickle.UnpicklingError, safetensors.SafetensorError) as error:  # fmt: skip
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path} is truncated or not a weight file: {reason}") from error


def read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    """A PyTorch state dict; nothing but tensors is unpickled."""
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"reading {path} needs PyTorch: pip install -e '.[torch]', or convert the file to "
            ".safetensors on another machine"
        ) from error
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {key: value.numpy() for key, value in state.items()}


def read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """All arrays of a safetensors file."""
    return safetensors.numpy.load_file(path)


def write(state: dict[str, np.ndarray], path: str | os.PathLike) -> None:
    """Writes a state as safetensors, atomically."""
    path = pathlib.Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    # np.ascontiguousarray would give a scalar an axis.
    state = {key: np.asarray(value, np.float32, order="C") for key, value in state.items()}
    write_atomically(path, safetensors.numpy.save(state))

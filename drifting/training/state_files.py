"""Writes and reads the state in a checkpoint with Orbax, which no other module uses."""

import logging
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp

from drifting.core.errors import UserError
from drifting.core.state import TrainState

# Orbax logs the errors of its threads with tracebacks, and then raises them where it is waited for.
logging.getLogger("absl").addFilter(lambda r: not (r.exc_info and "orbax" in r.pathname))

STATE = "state"  # in the folder of a step


class CheckpointError(UserError):
    """A checkpoint cannot be read or written; the message says why."""


def new_writer() -> ocp.StandardCheckpointer:
    """Writes in a thread: save(path, state) starts, wait_until_finished() raises what failed."""
    # A folder that cannot be made is an error of `save`; in the thread, others would wait for it.
    options = ocp.AsyncOptions(create_directories_asynchronously=False)
    return ocp.StandardCheckpointer(async_options=options)


def is_complete(step_folder: pathlib.Path) -> bool:
    """Whether a folder holds a state that Orbax wrote; it names the folder of a step at the end."""
    return os.path.lexists(step_folder / STATE / "_METADATA")


def reason(error: Exception) -> str:
    """An error in a few words: that of the system if there is one, such as a full disk."""
    text = str(error).strip() or type(error).__name__
    if code := re.search(r"os_error_code='(\d+)'", text):  # in an error of TensorStore
        return os.strerror(int(code[1]))
    return getattr(error, "strerror", None) or text.splitlines()[0].rstrip(":")


def read(path: pathlib.Path, shapes: Any, optional: Sequence[str]) -> Any:
    """The state of a checkpoint, sharded as `shapes` says; `optional` is that of `restore`.

    Raises:
      CheckpointError: it cannot be read, or is of another model.
    """
    try:
        return _read_state(path, shapes, optional)
    except CheckpointError:
        raise
    except Exception as error:  # Orbax has no type of its own for what it cannot read
        if not isinstance(error, ValueError):
            raise CheckpointError(f"checkpoint {path} cannot be read: {reason(error)}") from error
        raise CheckpointError(
            f"checkpoint {path} does not fit this model: it was made with another config or by "
            f"another version ({reason(error)}); train in another --workdir"
        ) from error


def _read_state(path: pathlib.Path, shapes: Any, optional: Sequence[str]) -> Any:
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        has_more = False
        if optional:
            saved = reader.metadata(path / STATE).item_metadata.tree["params"]
            shapes = _without(shapes, _missing(saved, shapes.params, optional))
            has_more = any(n in optional for n in saved.keys() - shapes.params.keys())
        args = ocp.args.PyTreeRestore(
            item=shapes,
            restore_args=ocp.checkpoint_utils.construct_restore_args(shapes),
            partial_restore=has_more,  # otherwise both must have exactly the same leaves
        )
        state = reader.restore(path / STATE, args=args)
    _check_types(path, shapes, state)
    return state


def _missing(saved: dict[str, Any], wanted: dict[str, Any], optional: Sequence[str]) -> list[str]:
    """The networks of `optional` that are wanted but not saved in the same shapes."""
    names = set(optional) & wanted.keys()
    return [n for n in names if _shapes(saved.get(n, {})) != _shapes(wanted[n])]


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each leaf, by its path; leaves are arrays or Orbax's metadata of arrays."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {jax.tree_util.keystr(path): tuple(leaf.shape) for path, leaf in leaves}


def _without(state: TrainState, names: Iterable[str]) -> TrainState:
    """The state without the networks `names`."""
    parts = ("params", "ema_params", "opt_state")
    return state.replace(
        **{part: {k: v for k, v in vars(state)[part].items() if k not in names} for part in parts}
    )


def _check_types(folder: pathlib.Path, shapes: Any, state: Any) -> None:
    """Refuses a restored state of other shapes or types: Orbax would cast it silently.

    A leaf that a partial restore did not find comes back as the shape that was asked for.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    for want, (path, got) in zip(jax.tree.leaves(shapes), leaves, strict=True):
        if isinstance(got, jax.ShapeDtypeStruct):
            where = jax.tree_util.keystr(path)
            raise CheckpointError(
                f"checkpoint {folder} does not fit this model: it lacks {where}; train in another "
                "--workdir"
            )
        if want.shape != got.shape or want.dtype != got.dtype:
            raise CheckpointError(
                f"checkpoint {folder} does not fit this model: it has {got.dtype}{got.shape} where "
                f"{want.dtype}{want.shape} is expected; train in another --workdir"
            )

"""Checkpoints through Orbax, with content hashes and fallback to older checkpoints.

Orbax commits a step by renaming its folder, so an interrupted save never looks finished. The
manifest of hashes (integrity.py) is written after that; a step without a matching manifest is not
restored.
"""

import dataclasses
import json
import logging
import os
import pathlib
import shutil
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from drifting.core.errors import UserError
from drifting.core.state import BY_NETWORK, TrainState
from drifting.training.integrity import MANIFEST, find_damage, write_manifest

log = logging.getLogger(__name__)


class CheckpointError(UserError):
    """A checkpoint cannot be used; the message says why."""


def valid_steps(folder: str | os.PathLike) -> list[int]:
    """The steps of all finished checkpoints in `folder`, in order; their contents are not read."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        return []
    steps = (d for d in folder.iterdir() if d.name.isdigit())
    return sorted(int(d.name) for d in steps if (d / MANIFEST).is_file())


def best_step(folder: str | os.PathLike, score: str) -> int | None:
    """The step of the finished checkpoint with the largest `score`, the latest of equal ones.

    None if no checkpoint was saved with that score.
    """
    folder = pathlib.Path(folder)
    scored = [(_saved_metrics(folder / str(s)).get(score), s) for s in valid_steps(folder)]
    scored = [(value, step) for value, step in scored if value is not None]
    return max(scored)[1] if scored else None


def _saved_metrics(step_folder: pathlib.Path) -> dict[str, float]:
    try:
        return json.loads((step_folder / "metrics" / "metrics").read_text())
    except (OSError, ValueError):
        return {}


def restore(
    folder: str | os.PathLike, step: int, shapes: Any, optional: Sequence[str] = ()
) -> tuple[Any, dict[str, float]]:
    """The state at `step`, sharded as `shapes` says, and the metrics saved with it.

    Nothing is written, so this is safe while a job trains in the folder.

    Args:
      folder: `<workdir>/checkpoints`.
      optional: networks of a TrainState that the checkpoint and `shapes` need not agree on. One
        that only the checkpoint has is not read; one that it lacks, or has in other shapes, is
        left out of the returned state.

    Raises:
      CheckpointError: the checkpoint is damaged, or of another model.
    """
    path = pathlib.Path(folder).absolute() / str(step)
    damage = find_damage(path)
    if damage:
        raise CheckpointError(f"checkpoint {path} cannot be used: {damage}")
    try:
        state = _read(path, shapes, optional)
    except ValueError as error:
        first = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"checkpoint {path} does not fit this model: it was made with another config or by "
            f"another version ({first.rstrip(':')}); train in another --workdir"
        ) from error
    return state, _saved_metrics(path)


def _read(path: pathlib.Path, shapes: Any, optional: Sequence[str]) -> Any:
    handler, has_more = ocp.PyTreeCheckpointHandler(), False
    with ocp.Checkpointer(handler) as reader:
        saved = handler.metadata(path / "state").tree
        if optional:
            shapes = _without(shapes, _missing(saved["params"], shapes.params, optional))
            has_more = any(n in optional for n in saved["params"].keys() - shapes.params.keys())
        item = shapes
        older = isinstance(shapes, TrainState) and "ema_rest" not in saved  # by another version
        if older:
            item = {name: value for name, value in vars(shapes).items() if name != "ema_rest"}
        args = ocp.args.PyTreeRestore(
            item=item,
            restore_args=ocp.checkpoint_utils.construct_restore_args(item),
            partial_restore=has_more,  # otherwise both must have exactly the same leaves
        )
        state = reader.restore(path / "state", args=args)
    _check_types(path, item, state)
    return shapes.replace(**state, ema_rest=_zeros(shapes.ema_rest)) if older else state


def _zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype, device=s.sharding), shapes)


@dataclasses.dataclass
class _Best(checkpoint_managers.PreservationPolicy):
    """Keeps the step that `best_step` returns.

    Orbax's own BestN knows only the checkpoints that it saved itself, with its own kind of metrics.
    This policy reads the folder, so the best checkpoint survives a resume.
    """

    folder: pathlib.Path
    score: str

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        del context
        best = best_step(self.folder, self.score)
        return [checkpoint.step == best for checkpoint in checkpoints]


class Checkpoints:
    """The checkpoints of a workdir, for the one process that trains there; others use `restore`.

    Args:
      folder: `<workdir>/checkpoints`.
      keep: how many of the newest checkpoints are kept.
      keep_every: steps that are multiples of this are kept as well; 0: none.
      best_score: the checkpoint saved with the largest value of this metric is kept as well.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        keep: int = 1,
        keep_every: int = 0,
        best_score: str | None = None,
    ):
        self.folder = pathlib.Path(folder).absolute()
        policies = [checkpoint_managers.LatestN(max(keep, 1))]
        if keep_every:
            policies.append(checkpoint_managers.EveryNSteps(keep_every))
        if best_score:
            policies.append(_Best(self.folder, best_score))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies)
        )
        self._manifest_writer: threading.Thread | None = None
        self._saved = threading.Event()
        self._move_unfinished()
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def _move_unfinished(self) -> None:
        """Moves away steps without a manifest: the job was killed before it was written."""
        if not self.folder.is_dir():
            return
        for step in self.folder.iterdir():
            if step.name.isdigit() and not (step / MANIFEST).is_file():
                self._move_away(step, "it was not finished")

    def _move_away(self, step: pathlib.Path, reason: str) -> None:
        aside = self.folder.parent / "damaged_checkpoints" / f"{step.name}_{time.time_ns()}"
        aside.parent.mkdir(exist_ok=True)
        shutil.move(step, aside)
        log.warning("checkpoint %s cannot be used: %s; moved to %s", step, reason, aside)

    def save(self, state: Any, step: int, metrics: dict[str, float]) -> None:
        """Starts saving; returns once the state has been copied from the device."""
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state), metrics=ocp.args.JsonSave(metrics)
        )
        self.wait()
        self._saved.clear()
        self._manager.save(step, args=args, force=True)
        self._manifest_writer = threading.Thread(
            target=self._write_manifest_when_committed, args=(step,)
        )
        self._manifest_writer.start()

    def _write_manifest_when_committed(self, step: int) -> None:
        """Writes the manifest once Orbax has renamed the step's folder into place.

        Orbax has no callback after the rename, so this thread polls for it.
        """
        folder = self.folder / str(step)
        while not folder.is_dir() and not self._saved.wait(0.05):
            pass
        if folder.is_dir():
            write_manifest(folder)

    def restore_newest(
        self, shapes: Any, optional: Sequence[str] = ()
    ) -> tuple[Any, int, dict[str, float]] | None:
        """The newest usable state, its step and its metrics; None if there is no checkpoint.

        Damaged newer checkpoints are logged and moved out of the way, never deleted. `optional` is
        that of `restore`.

        Raises:
          CheckpointError: all checkpoints are damaged, or the newest usable one does not fit.
        """
        steps = valid_steps(self.folder)
        damaged = []
        for step in reversed(steps):
            damage = find_damage(self.folder / str(step))
            if not damage:
                for newer, reason in damaged:
                    self._move_away(self.folder / str(newer), reason)
                if damaged:
                    log.warning("falling back to the checkpoint of step %d", step)
                    self._manager.reload()
                state, metrics = restore(self.folder, step, shapes, optional)
                return state, step, metrics
            damaged.append((step, damage))
        if damaged:
            listed = "; ".join(f"step {s}: {reason}" for s, reason in damaged)
            raise CheckpointError(
                f"no usable checkpoint in {self.folder} ({listed}); restore one from a copy, or "
                "train in another --workdir"
            )
        return None

    def wait(self) -> None:
        """Waits until everything that was saved is on disk, including the manifest."""
        try:
            self._manager.wait_until_finished()
        finally:
            self._saved.set()
            if self._manifest_writer is not None:
                self._manifest_writer.join()

    def close(self) -> None:
        self.wait()
        self._manager.close()


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
    parts = {part: vars(state)[part] for part in BY_NETWORK}
    return state.replace(
        **{part: {k: v for k, v in of.items() if k not in names} for part, of in parts.items()}
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

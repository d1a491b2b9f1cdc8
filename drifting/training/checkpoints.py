"""Checkpoints of a run: sealed with content hashes, kept by policy, with fallback to older ones.

A checkpoint is made in a temporary folder: Orbax writes the state, then come the metrics, the
config and the manifest of hashes (integrity.py), and only then is the folder renamed to its step.
So every folder that is named as a step is whole, and older ones are removed after that.
"""

import contextlib
import json
import logging
import math
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax

from drifting.core import files
from drifting.training import state_files
from drifting.training.integrity import (
    find_damage,
    is_listed,
    is_sealed,
    sealed_step,
    write_manifest,
)
from drifting.training.state_files import CheckpointError, reason

log = logging.getLogger(__name__)

METRICS = "metrics/metrics"  # in the folder of a step
CONFIG = "config.json"  # also there
UNFINISHED = ".tmp"  # the suffix of a checkpoint that is being made or removed
OLD_UNFINISHED = ".orbax-checkpoint-tmp"  # that of older versions


# --- which there are -----------------------------------------------------------------------------


def valid_steps(folder: str | os.PathLike) -> list[int]:
    """The steps of all finished checkpoints in `folder`, in order; their contents are not read."""
    steps = ((_step_of(path.name), path) for path in _entries(folder))
    return sorted(step for step, path in steps if step is not None and is_sealed(path))


def is_resumable(folder: str | os.PathLike) -> bool:
    """Whether `folder` holds a checkpoint in any condition, which `restore_newest` judges."""
    return any(map(_is_checkpoint, _entries(folder)))


def misnamed(folder: str | os.PathLike) -> dict[str, str]:
    """The folders of checkpoints whose names are no steps, and what is wrong with each."""
    found = {}
    for path in _entries(folder):
        if _step_of(path.name) is None and _is_checkpoint(path):
            step = sealed_step(path)
            of = "a checkpoint" if step is None else f"the checkpoint of step {step}"
            found[path.name] = f"it holds {of}, but its name is not a step as 200 is"
    return found


def best_step(folder: str | os.PathLike, score: str, largest: bool = True) -> int | None:
    """The step of the finished checkpoint with the best `score`, the latest of equal ones.

    None if no checkpoint was saved with a finite value. One with damaged metrics does not count.

    Args:
      largest: whether the largest value is the best, rather than the smallest.
    """
    scored = []
    for step in valid_steps(folder):
        try:
            value = saved_metrics(folder, step).get(score)
        except CheckpointError as error:
            log.warning("%s; they do not count", error)
            continue
        if value is not None and math.isfinite(value):
            scored.append((value if largest else -value, step))
    return max(scored)[1] if scored else None


def saved_metrics(folder: str | os.PathLike, step: int) -> dict[str, float]:
    """The metrics that were saved with a checkpoint; its state is not read.

    Raises:
      CheckpointError: they are damaged, or the checkpoint was removed.
    """
    path = pathlib.Path(folder) / str(step)
    if damage := find_damage(path, only=[METRICS]):
        raise CheckpointError(f"the scores of checkpoint {path} cannot be used: {damage}")
    return _saved_metrics(path)


def _entries(folder: str | os.PathLike) -> list[pathlib.Path]:
    """What is in a folder, without checkpoints that are being made or removed."""
    try:
        return [p for p in sorted(pathlib.Path(folder).iterdir()) if not _is_unfinished(p)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointError(f"cannot read {folder}: {reason(error)}") from error


def _is_checkpoint(path: pathlib.Path) -> bool:
    return is_sealed(path) or state_files.is_complete(path)


def _step_of(name: str) -> int | None:
    """The step that a folder's name is; only the decimal form that `save` writes is one."""
    is_step = name.isascii() and name.isdecimal() and name == str(int(name))
    return int(name) if is_step else None


def _is_unfinished(path: pathlib.Path) -> bool:
    step, dot, suffix = path.name.partition(".")
    return _step_of(step) is not None and (dot + suffix).startswith((UNFINISHED, OLD_UNFINISHED))


# --- reading one ---------------------------------------------------------------------------------


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
      CheckpointError: the checkpoint is damaged, or of another model, or was removed.
    """
    path = pathlib.Path(folder).absolute() / str(step)
    if is_sealed(path):
        found, damage = _open(path, shapes, optional)
    else:
        found, damage = None, find_damage(path) or "it was not finished until now"
    if damage:
        raise CheckpointError(f"checkpoint {path} cannot be used: {damage}")
    return found


def _open(
    path: pathlib.Path, shapes: Any, optional: Sequence[str]
) -> tuple[tuple[Any, dict[str, float]] | None, str | None]:
    """The state and metrics of a checkpoint with or without a manifest, or how it is damaged.

    Raises:
      CheckpointError: its files are as they were written, but do not fit.
    """
    sealed = is_sealed(path)
    if (sealed or not state_files.is_complete(path)) and (damage := find_damage(path)):
        return None, damage
    error = None
    try:
        state, metrics = state_files.read(path, shapes, optional), _saved_metrics(path)
    except CheckpointError as raised:
        error = raised
    if not path.is_dir():  # a job that removes it renames it first: perhaps not all was there
        return None, "it was removed while it was read"
    if error:
        if sealed:
            raise error
        return None, f"it has no manifest, and {error}"
    if sealed_step(path) is None:  # no manifest, or that of an older version
        step = int(getattr(state, "step", path.name))
        if str(step) != path.name:
            return None, f"it is the checkpoint of step {step}, renamed"
    return (state, metrics), None


def config_of(folder: str | os.PathLike, step: int) -> pathlib.Path | None:
    """The config.json that a checkpoint was saved with; None if an older version saved it.

    Raises:
      CheckpointError: the file differs from the manifest, or the checkpoint was removed.
    """
    path = pathlib.Path(folder).absolute() / str(step)
    if not path.is_dir():
        raise CheckpointError(f"checkpoint {path} cannot be used: it was removed")
    if not is_listed(path, CONFIG):
        return None
    if damage := find_damage(path, only=[CONFIG]):
        raise CheckpointError(f"checkpoint {path} cannot be used: {damage}")
    return path / CONFIG


def _saved_metrics(step_folder: pathlib.Path) -> dict[str, float]:
    try:
        metrics = json.loads((step_folder / METRICS).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return metrics if isinstance(metrics, dict) else {}


# --- making them ---------------------------------------------------------------------------------


class Checkpoints:
    """The checkpoints of a workdir, for the one job that trains there; others use `restore`.

    Args:
      folder: `<workdir>/checkpoints`.
      keep: how many of the newest checkpoints are kept.
      keep_every: steps that are multiples of this are kept as well; 0: none.
      best: the step of the best checkpoint now, which is kept as well; None if there is none.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        keep: int = 1,
        keep_every: int = 0,
        best: Callable[[], int | None] = lambda: None,
    ):
        self.folder = pathlib.Path(folder).absolute()
        self._keep, self._keep_every, self._best = max(keep, 1), keep_every, best
        self._state_writer = state_files.new_writer()
        self._thread = ThreadPoolExecutor(1, "seal")
        self._sealing: Future | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"cannot write {self.folder}: {reason(error)}") from error
        if _is_primary():
            for path in filter(_is_unfinished, self.folder.iterdir()):
                _remove(path)  # left by a job that was killed

    def save(
        self, state: Any, step: int, metrics: dict[str, float], config: bytes | None = None
    ) -> None:
        """Starts saving; returns once the state has been copied from the device.

        Args:
          config: the contents of the run's config.json, to be saved with it.

        Raises:
          CheckpointError: this checkpoint, or the one before, cannot be written.
        """
        self.wait()
        temporary = self._path(step, UNFINISHED)
        try:
            self._state_writer.save(temporary / state_files.STATE, state)
        except OSError as error:
            raise self._unwritten(step, error) from error
        self._sealing = self._thread.submit(self._seal, step, metrics, config)

    def _seal(self, step: int, metrics: dict[str, float], config: bytes | None) -> None:
        """Finishes a checkpoint, then removes older ones; runs in a thread.

        Raises:
          CheckpointError: it cannot be written; older ones are as they were.
        """
        temporary = self._path(step, UNFINISHED)
        try:
            self._state_writer.wait_until_finished()  # for all processes of the job
            if not _is_primary():
                return
            (temporary / METRICS).parent.mkdir()
            (temporary / METRICS).write_bytes(files.to_json(metrics))
            if config is not None:
                (temporary / CONFIG).write_bytes(config)
            write_manifest(temporary, step)
            temporary.rename(self._path(step))
        except Exception as error:  # Orbax has no type of its own for what it cannot write
            _remove(temporary)
            raise self._unwritten(step, error) from error
        self.prune()

    def prune(self) -> None:
        """Removes what need not be kept, as after a score has shown that a newer one is better."""
        if _is_primary():
            for old in self._superseded():
                _remove(self._path(old))

    def _path(self, step: int, suffix: str = "") -> pathlib.Path:
        return self.folder / f"{step}{suffix}"

    def _unwritten(self, step: int, error: Exception) -> CheckpointError:
        steps = valid_steps(self.folder)
        resumes = f"resumes at step {steps[-1]}" if steps else "starts again"
        return CheckpointError(
            f"the checkpoint of step {step} cannot be written in {self.folder}: {reason(error)}; "
            f"once that is mended, the same command {resumes}"
        )

    def _superseded(self) -> Iterator[int]:
        """The steps of finished checkpoints that need not be kept."""
        steps, best = valid_steps(self.folder), self._best()
        for step in steps[: -self._keep]:
            if step != best and not (self._keep_every and step % self._keep_every == 0):
                yield step

    def restore_newest(
        self, shapes: Any, optional: Sequence[str] = ()
    ) -> tuple[Any, int, dict[str, float]] | None:
        """The newest usable state, its step and its metrics; None if there is no checkpoint.

        Damaged checkpoints are logged and moved out of the way, never deleted. One that lacks a
        manifest is used, and given one, only if none that has one is undamaged. `optional` is that
        of `restore`.

        Raises:
          CheckpointError: all checkpoints are damaged, or the newest usable one does not fit.
        """
        ignored, damaged = misnamed(self.folder), {}
        for name, why in ignored.items():
            log.warning("checkpoint %s is ignored: %s", self.folder / name, why)
        for path in self._most_trusted_first():
            found, damage = _open(path, shapes, optional)
            if damage:
                damaged[path.name] = damage
                continue
            if _is_primary():
                self._take_up(path, damaged)
            return found[0], int(path.name), found[1]
        if damaged or ignored:
            listed = "; ".join(f"{name}: {why}" for name, why in (damaged | ignored).items())
            raise CheckpointError(
                f"no usable checkpoint in {self.folder} ({listed}); restore one from a copy, or "
                "train in another --workdir"
            )
        return None

    def _most_trusted_first(self) -> list[pathlib.Path]:
        """All that is named as a step: those with a manifest first, of them the newest first."""
        steps = {_step_of(path.name): path for path in _entries(self.folder)}
        steps.pop(None, None)
        return [steps[s] for s in sorted(steps, key=lambda s: (is_sealed(steps[s]), s))[::-1]]

    def _take_up(self, path: pathlib.Path, damaged: dict[str, str]) -> None:
        """Makes `path` the newest checkpoint: whatever could be taken for a newer one is moved."""
        if not is_sealed(path):
            try:
                write_manifest(path, int(path.name))
            except OSError as error:
                raise self._unwritten(int(path.name), error) from error
            log.warning("checkpoint %s had no manifest, so its files were not checked", path)
        if damaged:
            log.warning("falling back to the checkpoint of step %s", path.name)
        for other in self._most_trusted_first():
            unfinished = None if is_sealed(other) else find_damage(other)
            if why := damaged.get(other.name) or unfinished:
                self._move_away(other, why)

    def _move_away(self, path: pathlib.Path, why: str) -> None:
        aside = self.folder.parent / "damaged_checkpoints" / f"{path.name}_{time.time_ns()}"
        aside.parent.mkdir(exist_ok=True)
        shutil.move(path, aside)
        log.warning("checkpoint %s cannot be used: %s; moved to %s", path, why, aside)

    def wait(self) -> None:
        """Waits until everything that was saved is on disk, including the manifest.

        Raises:
          CheckpointError: it cannot be written.
        """
        sealing, self._sealing = self._sealing, None
        if sealing is not None:
            sealing.result()

    def close(self) -> None:
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            with contextlib.suppress(OSError):  # `wait` has raised it, in a sentence
                self._state_writer.close()


def _is_primary() -> bool:
    """Whether this process, of all of a job, writes what is not an array."""
    return jax.process_index() == 0


def _remove(path: pathlib.Path) -> None:
    """Removes a checkpoint, which is renamed first: a reader never sees a part of it."""
    aside = path if _is_unfinished(path) else path.with_name(path.name + UNFINISHED)
    try:
        shutil.rmtree(path.rename(aside))
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("cannot remove %s: %s", aside, reason(error))

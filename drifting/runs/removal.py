"""Removes runs from a folder, and refuses everything else."""

import fnmatch
import os
import pathlib
import shutil
from collections.abc import Iterator

from drifting.core import files
from drifting.runs import listing
from drifting.runs.folder import LOCK
from drifting.runs.listing import RunError


def matching(root: pathlib.Path, pattern: str) -> list[pathlib.Path]:
    """The runs below `root` whose paths in it match the pattern, such as `ldf/*`.

    Raises:
      RunError: there is none.
    """
    names = {run.relative_to(root).as_posix(): run for run in listing.find(root)}
    found = [run for name, run in names.items() if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        there = ", ".join(names) or "none"
        raise RunError(f"no run in {root} matches {pattern!r}; the runs there: {there}")
    return found


def refusal(run: pathlib.Path, root: pathlib.Path) -> str | None:
    """Why a run must not be removed; None if it may be. Nothing is written.

    Args:
      root: the folder that nothing may be removed outside of, resolved.
    """
    if run == root or not run.is_relative_to(root):
        return f"it is not below {root}"
    for path in (run, *_links(run)):
        if path.is_symlink() and not (target := path.resolve()).is_relative_to(root):
            return f"{path} is a link that leads outside {root}, to {target}"
    if run.is_symlink():
        return f"it is a link; the run is {run.resolve()}"
    if not listing.is_run(run):
        return "it is not a run: its config.json is of something else, and it has no checkpoint"
    if inner := [other for other in listing.find(run) if other != run]:
        return f"another run is in it, {inner[0]}; remove that first"
    try:
        holder = files.holder(run / LOCK)
    except OSError as error:
        return f"whether a process trains in it cannot be known: {error.strerror}"
    return None if holder is None else _in_training(holder)


def remove(run: pathlib.Path, root: pathlib.Path) -> None:
    """Removes a run while holding its lock.

    config.json goes last, so what an interrupted removal leaves is still a run and can be removed.

    Raises:
      RunError: it must not be removed.
      OSError: a file cannot be removed.
    """
    if why := refusal(run, root):
        raise RunError(f"{run}: {why}")
    try:
        with files.locked(run / LOCK, wait=False):
            names = sorted(os.listdir(run), key=lambda n: (n == LOCK, n == listing.CONFIG, n))
            for path in (run / name for name in names):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            run.rmdir()
    except files.InUse as error:
        raise RunError(f"{run}: {_in_training(error.holder)}") from error


def _links(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    for name, folders, names in os.walk(folder):
        paths = (pathlib.Path(name, n) for n in (*folders, *names))
        yield from (path for path in paths if path.is_symlink())


def _in_training(holder: str) -> str:
    return f"process {holder} is training in it; wait for it, or stop it"

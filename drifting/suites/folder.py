"""The folder of a suite: its lock, its settings, and what earlier sessions left in it."""

import contextlib
import itertools
import json
import logging
import pathlib
import shutil
from collections.abc import Iterator, Sequence

from drifting.core import files
from drifting.suites.suite import LOGS, RunSpec, SuiteError

log = logging.getLogger(__name__)

# In the workdir of a run whose checkpoints the suite removed, so that it is not trained again.
REMOVED = "checkpoints_removed"
TORCH_CHECKPOINT = "newest.pt"  # of scripts/reference_torch, in `checkpoints`


@contextlib.contextmanager
def locked(out: pathlib.Path) -> Iterator[int]:
    """Creates and locks the folder; yields the lock's file descriptor, which runs inherit.

    The system releases the lock when the last process that holds it ends, so runs left behind by a
    killed session keep a new session from training in their folders.

    Raises:
      SuiteError: the folder cannot be written, or is in use.
    """
    with contextlib.ExitStack() as held:
        try:
            (out / LOGS).mkdir(parents=True, exist_ok=True)
            descriptor = held.enter_context(files.locked(out / "session.lock", wait=False))
        except files.InUse as error:
            raise SuiteError(
                f"{out} is in use by process {error.holder} or by runs that it left behind; wait "
                "for them or stop them, or choose another --out"
            ) from error
        except OSError as error:
            raise SuiteError(
                f"cannot write to --out {out}: {error.strerror}; choose another --out"
            ) from error
        yield descriptor


def remember_settings(runs: Sequence[RunSpec], out: pathlib.Path) -> None:
    """Records the settings of each run in settings.json, so that a table never mixes settings.

    Raises:
      SuiteError: the settings of a run that was already started have changed.
    """
    path = out / "settings.json"
    known = _read_settings(path)
    now = {run.name: run.settings for run in runs}
    changed = [n for n in now if (out / n).exists() and known.get(n, now[n]) != now[n]]
    if changed:
        name = changed[0]
        raise SuiteError(
            f"{out} holds {len(changed)} runs with other settings, such as {name}: "
            f"{' '.join(known[name])}, now {' '.join(now[name])}; set these back, or choose "
            "another --out"
        )
    files.write_json(path, known | now)


def _read_settings(path: pathlib.Path) -> dict[str, list[str]]:
    try:
        known = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, dict) or not all(isinstance(v, list) for v in known.values()):
        raise SuiteError(f"{path} is damaged; restore it from a copy, or choose another --out")
    return known


def next_action(workdir: pathlib.Path) -> str:
    """`resume`, `restart` (there are files, but no checkpoint to resume from) or `start`."""
    manifests = workdir.glob("checkpoints/*/manifest.json")  # as in checkpoints.valid_steps
    if any(path.parent.name.isdecimal() for path in manifests):
        return "resume"
    if (workdir / "checkpoints" / TORCH_CHECKPOINT).is_file():
        return "resume"
    return "restart" if workdir.is_dir() and any(workdir.iterdir()) else "start"


def set_aside(workdir: pathlib.Path) -> None:
    """Renames the folder of a run that cannot be resumed, which training would refuse."""
    names = (workdir.with_name(f"{workdir.name}.broken-{k}") for k in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    workdir.rename(aside)
    log.warning("%s holds no finished checkpoint; moved to %s", workdir, aside)


def remove_checkpoints(workdir: pathlib.Path) -> None:
    """Removes the checkpoints of a run that is finished; its scores, logs and pictures stay."""
    checkpoints = workdir / "checkpoints"
    if checkpoints.is_symlink():
        log.warning("%s is a link; what it leads to is not removed", checkpoints)
    elif checkpoints.is_dir():
        (workdir / REMOVED).touch()
        shutil.rmtree(checkpoints, ignore_errors=True)


def require_not_removed(workdir: pathlib.Path) -> None:
    """Raises SuiteError if the checkpoints that an unfinished run needs were removed."""
    if (workdir / REMOVED).exists():
        raise SuiteError(
            f"{workdir} lacks scores, and --remove_checkpoints has removed its checkpoints; ask "
            "for the scores that it has, or move this folder away to train it again"
        )

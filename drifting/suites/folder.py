"""The folder of a suite: one session at a time, the same settings throughout, broken runs aside."""

import contextlib
import itertools
import json
import logging
import pathlib
from collections.abc import Iterator, Sequence

from drifting.core import files
from drifting.suites.suite import LOGS, RunSpec, SuiteError

log = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(out: pathlib.Path) -> Iterator[int]:
    """Makes the folder and locks it; yields the descriptor of the lock, for the runs to inherit.

    The system releases the lock when the last process that has it is gone, so runs that a killed
    session left behind keep a second one from training in their folders.

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
                "for them, stop them, or choose another --out"
            ) from error
        except OSError as error:
            raise SuiteError(f"cannot write to --out {out}: {error.strerror}") from error
        yield descriptor


def remember_settings(runs: Sequence[RunSpec], out: pathlib.Path) -> None:
    """Keeps in settings.json what each run is trained with: a table of mixed settings would lie.

    Raises:
      SuiteError: a run that was begun is now asked for with other settings.
    """
    path = out / "settings.json"
    known = json.loads(path.read_text()) if path.exists() else {}
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


def what_is_begun(workdir: pathlib.Path) -> str:
    """resume, restart (what is there cannot be resumed) or start."""
    if any(workdir.glob("checkpoints/[0-9]*/manifest.json")):  # checkpoints.valid_steps
        return "resume"
    return "restart" if workdir.is_dir() and any(workdir.iterdir()) else "start"


def set_aside(workdir: pathlib.Path) -> None:
    """Renames the folder of a broken run, which training would not touch."""
    names = (workdir.with_name(f"{workdir.name}.broken-{k}") for k in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    workdir.rename(aside)
    log.warning("%s holds no finished checkpoint; moved to %s", workdir, aside)

"""The folder of a matrix: one matrix at a time, and the same settings throughout."""

import contextlib
import fcntl
import json
import os
import pathlib
from collections.abc import Iterable, Iterator

from drifting.evaluation import report
from drifting.matrix.plan import MatrixError, MatrixRun


@contextlib.contextmanager
def locked(out: pathlib.Path) -> Iterator[int]:
    """Makes the folder and locks it; yields the descriptor of the lock, for the runs to inherit.

    The system releases the lock when the last process that has it is gone, so runs that a killed
    matrix left behind keep a second one from training in their folders.

    Raises:
      MatrixError: the folder cannot be written, or is in use.
    """
    try:
        (out / "logs").mkdir(parents=True, exist_ok=True)
        descriptor = os.open(out / "matrix.lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise MatrixError(f"cannot write to --out {out}: {error.strerror}") from error
    try:
        _lock(descriptor, out)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, out: pathlib.Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode()
        raise MatrixError(
            f"{out} is in use by process {holder} or by runs that it left behind; wait for them, "
            "stop them, or choose another --out"
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)


def remember_settings(runs: Iterable[MatrixRun], out: pathlib.Path) -> None:
    """Keeps in matrix.json what each run is trained with: a table of mixed settings would lie.

    Raises:
      MatrixError: a run that was begun is now asked for with other settings.
    """
    path = out / "matrix.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    now = {run.name: [f"{run.config}:{run.model}", *run.overrides] for run in runs}
    changed = [n for n in now if (out / n).exists() and known.get(n, now[n]) != now[n]]
    if changed:
        name = changed[0]
        raise MatrixError(
            f"{out} holds {len(changed)} runs with other settings, such as {name}: "
            f"{' '.join(known[name])}, now {' '.join(now[name])}; set these back, or choose "
            "another --out"
        )
    report.write_json(path, known | now)

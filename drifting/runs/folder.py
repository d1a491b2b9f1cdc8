"""Who may train in a folder: one process at a time, and never where files of others are."""

import contextlib
import errno
import json
import logging
import pathlib
import re
from collections.abc import Iterator

from drifting.core import files
from drifting.core.errors import UserError
from drifting.training import writers

log = logging.getLogger(__name__)

LOCK = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # of a file system without locks
# What a run writes before its first checkpoint is finished, and may write again.
_OF_A_START = re.compile(
    r"\.lock|config\.json|split\.json|(metrics|epochs|history)\.jsonl(\.damaged)?|curves\.png"
    r"|events\.out\.tfevents\..*|(samples|figures)/step_0000000(_\w+)?\.png"
    r"|checkpoints/(0|[^/]*\.tmp[^/]*|[^/]*\.orbax-checkpoint-tmp[^/]*)/.*|damaged_checkpoints/.*"
    r"|(.*/)?\..*\.\d+(\.tmp)?"  # a file of these while it is written
)


class WorkdirError(UserError):
    """A workdir that cannot be written or read."""


@contextlib.contextmanager
def owned(
    workdir: pathlib.Path, doing: str = "is training in", flag: str = "--workdir"
) -> Iterator[None]:
    """Creates the folder, and keeps others out of it until this process is done with it or ends.

    Args:
      doing: what is done in it, for messages.
      flag: the flag that names it.

    Raises:
      WorkdirError: the folder cannot be written, or another process writes to it.
    """
    with contextlib.ExitStack() as held:
        try:
            files.require_writable(workdir)
            held.enter_context(files.locked(workdir / LOCK, wait=False))
        except files.InUse as error:
            raise WorkdirError(
                f"process {error.holder} {doing} {workdir}; wait for it, stop it, or choose "
                f"another {flag}"
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise WorkdirError(
                    f"cannot write to {flag} {workdir}: {error.strerror}; choose another one"
                ) from error
            log.warning("%s is on a file system without locks: use it only once at a time", workdir)
        try:
            yield
        finally:
            if [path.name for path in workdir.iterdir()] == [LOCK]:  # nothing was written
                (workdir / LOCK).unlink()


def require_no_run(workdir: pathlib.Path) -> None:
    """Checks that a folder without checkpoints holds at most what an interrupted start leaves.

    Raises:
      WorkdirError: it holds other files; they are named.
    """
    found = [path for path in workdir.rglob("*") if not path.is_dir()]
    names = sorted(path.relative_to(workdir).as_posix() for path in found)
    others = [name for name in names if not _OF_A_START.fullmatch(name)]
    others += [name for name in names if _is_of_more(workdir, name)]
    if others:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise WorkdirError(
            f"{workdir} holds files but no finished checkpoint ({shown}), so there is nothing to "
            "resume; remove it or choose another --workdir"
        )
    if "config.json" in names:
        log.info("the run in %s was stopped before its first checkpoint; it starts again", workdir)


def _is_of_more(workdir: pathlib.Path, name: str) -> bool:
    """Whether it is a log with rows of later steps, or a config.json of something else."""
    if name in ("metrics.jsonl", "epochs.jsonl"):
        return any(row["step"] > 0 for row in writers.read_metrics(workdir / name))
    if name != "config.json":
        return False
    try:
        return "config" not in json.loads((workdir / name).read_bytes())
    except (ValueError, TypeError, RecursionError):
        return True

"""The folder of many runs: one session at a time, and the same settings throughout."""

import contextlib
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from drifting.core import files
from drifting.evaluation import report
from drifting.matrix.definition import PlanError


@contextlib.contextmanager
def locked(out: pathlib.Path) -> Iterator[int]:
    """Makes the folder and locks it; yields the descriptor of the lock, for the runs to inherit.

    The system releases the lock when the last process that has it is gone, so runs that a killed
    session left behind keep a second one from training in their folders.

    Raises:
      PlanError: the folder cannot be written, or is in use.
    """
    with contextlib.ExitStack() as held:
        try:
            (out / "logs").mkdir(parents=True, exist_ok=True)
            descriptor = held.enter_context(files.locked(out / "session.lock", wait=False))
        except files.InUse as error:
            raise PlanError(
                f"{out} is in use by process {error.holder} or by runs that it left behind; wait "
                "for them, stop them, or choose another --out"
            ) from error
        except OSError as error:
            raise PlanError(f"cannot write to --out {out}: {error.strerror}") from error
        yield descriptor


def remember_settings(settings: Mapping[str, Sequence[str]], out: pathlib.Path) -> None:
    """Keeps in settings.json what each run is trained with: a table of mixed settings would lie.

    Args:
      settings: by the name of the run, which is that of its folder.

    Raises:
      PlanError: a run that was begun is now asked for with other settings.
    """
    path = out / "settings.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    now = {name: list(values) for name, values in settings.items()}
    changed = [n for n in now if (out / n).exists() and known.get(n, now[n]) != now[n]]
    if changed:
        name = changed[0]
        raise PlanError(
            f"{out} holds {len(changed)} runs with other settings, such as {name}: "
            f"{' '.join(known[name])}, now {' '.join(now[name])}; set these back, or choose "
            "another --out"
        )
    report.write_json(path, known | now)

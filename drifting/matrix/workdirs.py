"""What the folder of a run says: its result, or what is left to do."""

import itertools
import json
import logging
import pathlib
from typing import Any

log = logging.getLogger(__name__)

# What a run's test.json has to hold to count as a result, in the order of the table.
RESULTS = ("accuracy", "val_accuracy", "macro_f1", "loss", "epoch_seconds", "parameters", "step")


def read_result(workdir: pathlib.Path) -> dict[str, Any] | None:
    """The numbers of RESULTS in a run's test.json; None where it is not finished."""
    try:
        values = json.loads((workdir / "test.json").read_text())
        result = {key: values[key] for key in RESULTS}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return result if all(isinstance(v, int | float) for v in result.values()) else None


def next_action(workdir: pathlib.Path) -> str:
    """skip, resume, restart (what is there cannot be resumed) or start."""
    if read_result(workdir):
        return "skip"
    if any(workdir.glob("checkpoints/[0-9]*/manifest.json")):  # as checkpoints.valid_steps
        return "resume"
    return "restart" if workdir.is_dir() and any(workdir.iterdir()) else "start"


def set_aside(workdir: pathlib.Path) -> None:
    """Renames the folder of a broken run, which training would not touch."""
    names = (workdir.with_name(f"{workdir.name}.broken-{k}") for k in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    workdir.rename(aside)
    log.warning("%s holds no finished checkpoint; moved to %s", workdir, aside)

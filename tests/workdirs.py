"""What tests read from the workdirs of runs."""

import jax

from drifting.runs.workdir import Run
from drifting.training import checkpoints, integrity, writers


def rows(workdir):
    """The logged rows, one dict for each step."""
    return writers.read_metrics(workdir / "metrics.jsonl")


def losses(workdir):
    """The logged losses."""
    return [row["loss"] for row in rows(workdir) if "loss" in row]


def state_of(workdir, step):
    """The saved state at a step, as NumPy arrays."""
    return jax.device_get(Run(workdir).restore(step)[0])


def remove_own_configs(workdir):
    """Makes all checkpoints those of an older version, which have the config of the workdir."""
    for step in checkpoints.valid_steps(workdir / "checkpoints"):
        folder = workdir / "checkpoints" / str(step)
        for name in (checkpoints.CONFIG, integrity.MANIFEST):
            (folder / name).unlink(missing_ok=True)
        integrity.write_manifest(folder, step)


def truncate_newest_checkpoint(workdir):
    """Cuts the end off the largest file of the newest checkpoint, and returns its step."""
    step = checkpoints.valid_steps(workdir / "checkpoints")[-1]
    files = [f for f in (workdir / "checkpoints" / str(step)).rglob("*") if f.is_file()]
    largest = max(files, key=lambda f: f.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])
    return step

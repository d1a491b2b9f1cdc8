"""A matrix as jobs: works them off in a folder, or says what that would be."""

import functools
import logging
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from drifting.matrix import folder, outcomes, session, tables
from drifting.matrix.jobs import TRAIN, Job
from drifting.matrix.outcomes import Row
from drifting.matrix.plan import MatrixRun, read_matrix
from drifting.matrix.processes import choose_slots
from drifting.matrix.workdirs import read_result

log = logging.getLogger(__name__)


def describe(matrix: str | os.PathLike, out: str | os.PathLike, jobs: int | None = None) -> None:
    """Prints what `run` would do and the commands for it; writes and starts nothing.

    Raises:
      PlanError: the matrix cannot be run.
    """
    runs = read_matrix(matrix)
    session.describe(_make_jobs(runs, pathlib.Path(out), TRAIN), choose_slots(jobs))


def run(
    matrix: str | os.PathLike,
    out: str | os.PathLike,
    jobs: int | None = None,
    command: Sequence[str] = TRAIN,
) -> int:
    """Trains what is missing of a matrix in the folder `out`; tables after every run.

    Args:
      jobs: runs at a time; one a visible GPU, or one on CPUs, if None.
      command: what a run's arguments are handed to, in the repository's folder.

    Returns:
      The exit code: 0 if all runs are finished, 1 if not, 128 + number after a signal.

    Raises:
      PlanError: the matrix cannot be run, or `out` is in use or of another one.
    """
    runs, slots, out = read_matrix(matrix), choose_slots(jobs), pathlib.Path(out)
    # Seed by seed, so that an early look at the table compares every cell with every other.
    in_turn = _make_jobs(sorted(runs, key=lambda run: run.seed), out, command)
    with folder.locked(out) as lock, session.noted_signals() as signals:
        settings = {run.name: (f"{run.config}:{run.model}", *run.overrides) for run in runs}
        folder.remember_settings(settings, out)
        write, ended = functools.partial(_write, runs, out), outcomes.read(out / "matrix.csv")
        work = session.Session(in_turn, slots, out / "logs", lock, ended, write)
        work.work(signals)
        if signals:
            return 128 + signals[0]
        log.info("tables: %s, and summary.md beside it", out / "matrix.csv")
        return work.conclude()


def _make_jobs(runs: Iterable[MatrixRun], out: pathlib.Path, command: Sequence[str]) -> list[Job]:
    jobs = []
    for run in runs:
        workdir = (out / run.name).absolute()
        commands = [[*command, *run.arguments(workdir)]]
        jobs.append(Job(run.name, workdir, commands, read_result, _headline))
    return jobs


def _headline(result: Row) -> str:
    return f"accuracy {100 * result['accuracy']:.2f} %"


def _write(runs: Sequence[MatrixRun], out: pathlib.Path, ended: Mapping[str, Row]) -> None:
    tables.write(tables.make_rows(runs, out, ended), out)

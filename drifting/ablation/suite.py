"""An ablation as jobs: works them off in a folder, or says what that would be."""

import functools
import logging
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from drifting.ablation import tables, workdirs
from drifting.ablation.plan import Ablation, AblationRun, read_ablation
from drifting.matrix import folder, outcomes, session
from drifting.matrix.jobs import EVALUATE, TRAIN, Job
from drifting.matrix.outcomes import Row
from drifting.matrix.processes import choose_slots

log = logging.getLogger(__name__)


class Programs(NamedTuple):
    """What a run's arguments are handed to, in the repository's folder."""

    train: Sequence[str] = TRAIN
    evaluate: Sequence[str] = EVALUATE


def describe(
    suite: str | os.PathLike,
    out: str | os.PathLike,
    nano: bool = False,
    encoder: str | None = None,
    jobs: int | None = None,
) -> None:
    """Prints what `run` would do and the commands for it; writes and starts nothing.

    Raises:
      PlanError: the ablation cannot be run.
    """
    out = pathlib.Path(out)
    first, then = _make_jobs(read_ablation(suite, out, nano, encoder), out, Programs())
    session.describe([*first, *then], choose_slots(jobs))


def run(
    suite: str | os.PathLike,
    out: str | os.PathLike,
    nano: bool = False,
    encoder: str | None = None,
    jobs: int | None = None,
    programs: Programs = Programs(),  # noqa: B008 (immutable)
) -> int:
    """Trains and scores what is missing of an ablation in the folder `out`; tables after each run.

    Args:
      suite: a file with get_ablation(), see plan.read_ablation.
      nano: with the suite's small budget.
      encoder: workdir of a trained encoder; the suite's own is trained in <out>/encoder if None.
      jobs: runs at a time; one a visible GPU, or one on CPUs, if None.

    Returns:
      The exit code: 0 if all runs are finished, 1 if not, 128 + number after a signal.

    Raises:
      PlanError: the ablation cannot be run, or `out` is in use or of another one.
    """
    out = pathlib.Path(out)
    plan, slots = read_ablation(suite, out, nano, encoder), choose_slots(jobs)
    with folder.locked(out) as lock, session.noted_signals() as signals:
        everything = [*([plan.encoder] if plan.encoder else []), *plan.runs]
        folder.remember_settings({run.name: run.settings for run in everything}, out)
        write, ended = functools.partial(_write, plan, out), outcomes.read(out / "ablation.csv")
        for jobs_of_phase in filter(None, _make_jobs(plan, out, programs)):
            work = session.Session(jobs_of_phase, slots, out / "logs", lock, ended, write)
            work.work(signals)
            if signals:
                return 128 + signals[0]
            code = work.conclude()
            if code != 0:  # without its encoder no run can go on
                break
        log.info("tables: %s, and ablation.md beside it", out / "ablation.csv")
        return code


def _make_jobs(
    plan: Ablation, out: pathlib.Path, programs: Programs
) -> tuple[list[Job], list[Job]]:
    """The encoder's, if it is to be trained, and those of the runs, which wait for it."""
    first = []
    if plan.encoder:
        workdir = (out / plan.encoder.name).absolute()
        commands = [[*programs.train, *plan.encoder.arguments(workdir)]]
        headline = _encoder_headline
        first = [Job(plan.encoder.name, workdir, commands, workdirs.read_encoder, headline)]
    return first, [_make_job(run, (out / run.name).absolute(), programs) for run in plan.runs]


def _make_job(run: AblationRun, workdir: pathlib.Path, programs: Programs) -> Job:
    """A run to be trained, unless it is, and then scored."""
    scoring = ["--workdir", str(workdir), "--checkpoints", "all", "--skip_existing"]
    commands = [[*programs.evaluate, *scoring]]
    if not workdirs.is_trained(run, workdir):
        commands.insert(0, [*programs.train, *run.arguments(workdir)])
    read_result = functools.partial(workdirs.read_result, run)
    return Job(run.name, workdir, commands, read_result, _headline)


def _headline(result: Row) -> str:
    return (
        f"Frechet distance {result['last']:.4g} at step {result['last_step']}, best "
        f"{result['best']:.4g} at step {result['best_step']}"
    )


def _encoder_headline(result: Row) -> str:
    shown = {key: value for key, value in result.items() if key in ("accuracy", "loss")}
    return ", ".join(f"{key} {value:.4g}" for key, value in shown.items())


def _write(plan: Ablation, out: pathlib.Path, ended: Mapping[str, Row]) -> None:
    rows = tables.make_rows(plan, out, ended)
    tables.write(plan, rows, out)
    for row in rows:
        if row["status"] == "finished":  # others may be at work there
            shutil.rmtree(out / row["name"] / "eval" / "artifacts", ignore_errors=True)

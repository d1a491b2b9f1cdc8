"""Carries out the runs of a suite, or prints what would be done."""

import contextlib
import logging
import os
import shlex
import signal
import statistics
import time
from collections.abc import Iterator, Sequence

from drifting.suites import folder, processes, tables
from drifting.suites.plan import Plan, read_plan
from drifting.suites.processes import Child
from drifting.suites.suite import LOGS, RunSpec
from drifting.suites.tables import Programs

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1


def run(
    suite: str | os.PathLike,
    out: str | os.PathLike,
    nano: bool = False,
    encoder: str | None = None,
    jobs: int | None = None,
    dry_run: bool = False,
    features: str | None = None,
    remove_checkpoints: bool = False,
    programs: Programs = Programs(),  # noqa: B008 (immutable)
) -> int:
    """Runs what is missing of a suite in the folder `out`; writes its tables after each run.

    Args:
      suite: a file with get_suite(), see plan.read_plan.
      nano: use the suite's small budget.
      encoder: workdir of a trained encoder; if None, the suite trains its own in <out>/encoder.
      jobs: concurrent runs; if None, one per visible GPU, or one on CPUs.
      dry_run: only print what would be done, with the commands.
      features: those of the scores, see plan.read_plan.
      remove_checkpoints: remove the checkpoints of each run of the table once it is finished,
        unless another run needs them.

    Returns:
      The exit code: 0 if all runs are finished, 1 if not, 128 + its number after a signal.

    Raises:
      SuiteError: the suite is invalid, or `out` is in use or was started with other settings.
    """
    plan = read_plan(suite, out, nano, encoder, features)
    slots = processes.choose_slots(jobs)
    for run in plan.runs:
        if not plan.table.result(run):
            folder.require_not_removed(plan.table.workdir(run))
    if dry_run:
        _describe(plan, slots)
        return 0
    with folder.locked(plan.out) as lock, _recorded_signals() as signals:
        folder.remember_settings(plan.runs, plan.out)
        session = Session(plan, slots, lock, programs, remove_checkpoints)
        session.work(signals)
        if signals:
            return 128 + signals[0]
        log.info("tables: %s and %s in %s",
                 plan.table.csv_name, plan.table.markdown_name, plan.out)  # fmt: skip
        return session.conclude()


def _describe(plan: Plan, slots: Sequence[str | None]) -> None:
    actions = [_next_action(plan, run) for run in plan.runs]
    for run, action in zip(plan.runs, actions, strict=True):
        commands = " && ".join(map(shlex.join, plan.table.commands(run, Programs())))
        print(f"{action:8}{run.name}" + ("" if action == "skip" else f": {commands}"))
    count, done = len(actions), actions.count("skip")
    where = "on CPUs" if slots[0] is None else f"on GPUs {', '.join(map(str, slots))}"
    print(f"{count} runs, {done} finished, {count - done} to do, {len(slots)} at a time {where}")


def _next_action(plan: Plan, run: RunSpec) -> str:
    """`skip` for a finished run, else see `folder.next_action`."""
    return "skip" if plan.table.result(run) else folder.next_action(plan.table.workdir(run))


@contextlib.contextmanager
def _recorded_signals() -> Iterator[list[int]]:
    """A list to which signals that ask to stop are appended; ignored ones (nohup) stay ignored."""
    received: list[int] = []
    wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {n: signal.getsignal(n) for n in wanted if signal.getsignal(n) != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, lambda number, _: received.append(number))
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Session:
    """Carries out the runs of a plan, one per slot, each after its prerequisites.

    Args:
      slots: a GPU, or None for the CPU, for each concurrent run.
      lock: file descriptor that the processes inherit.
      removes: whether to remove the checkpoints of finished runs that no other run needs.
    """

    def __init__(
        self,
        plan: Plan,
        slots: Sequence[str | None],
        lock: int,
        programs: Programs,
        removes: bool = False,
    ):
        self.removes = removes
        self.plan, self.table, self.lock, self.programs = plan, plan.table, lock, programs
        self.unfinished = {run.name for run in plan.runs if not plan.table.result(run)}
        # Seed by seed, so that even an unfinished table compares equal numbers of runs.
        in_turn = sorted(plan.runs, key=lambda run: run.labels.get("seed", 0))
        self.waiting = [run for run in in_turn if run.name in self.unfinished]
        self.active: list[tuple[RunSpec, Child]] = []
        self.free, self.num_slots = list(slots), len(slots)
        self.seconds: list[float] = []  # duration of each run of the table in this session
        self.ended = plan.table.read_outcomes()  # how runs ended, by name

    def work(self, signals: Sequence[int]) -> None:
        """Starts missing runs as slots become free, until none can start or a signal arrives."""
        count = len(self.plan.runs)
        log.info("%d of %d runs are finished", count - len(self.waiting), count)
        self.table.write(self.ended)
        self._remove_checkpoints()
        try:
            while not signals:
                self._launch_ready()
                if not self.active:
                    break
                for run, child in [(r, c) for r, c in self.active if not c.advance()]:
                    self._record(run, child)
                time.sleep(POLL_SECONDS)
        finally:
            self._stop()
        if self.waiting and not signals:
            names = ", ".join(run.name for run in self.waiting)
            log.warning("not started, because their prerequisites are not finished: %s", names)

    def conclude(self) -> int:
        """Logs which runs are not finished; returns the exit code."""
        rows = [{"name": run.name, **self.table.outcome(run, self.ended)} for run in self.plan.runs]
        lines = tables.unfinished_lines(rows)
        if lines:
            log.error("%d of %d runs are not finished, see %s:\n%s",
                      len(lines), len(rows), self.plan.out / LOGS, "\n".join(lines))  # fmt: skip
        return 1 if lines else 0

    def _launch_ready(self) -> None:
        """Starts runs whose prerequisites are finished, while there are free slots."""
        for run in list(self.waiting):
            if self.free and not self.unfinished.intersection(run.after):
                self.waiting.remove(run)
                self._launch(run)

    def _launch(self, run: RunSpec) -> None:
        action, workdir = _next_action(self.plan, run), self.table.workdir(run)
        if action == "restart":
            folder.set_aside(workdir)
        slot, path = self.free.pop(0), self.plan.out / LOGS / f"{run.name}.log"
        commands = self.table.commands(run, self.programs)
        self.active.append((run, Child(commands, slot, path, self.lock)))
        self.ended.pop(run.name, None)
        log.info("%s %s%s", action, run.name, "" if slot is None else f" on GPU {slot}")

    def _record(self, run: RunSpec, child: Child) -> None:
        """Records and logs how a run ended, and updates the tables."""
        self.active.remove((run, child))
        self.free.append(child.slot)
        result = self.table.result(run)
        outcome = self.ended[run.name] = child.outcome(result is not None)
        if result:
            self.unfinished.remove(run.name)
            detail = self.table.headline(run, result)
            if run.in_table:
                self.seconds.append(time.monotonic() - child.began)
        else:
            detail = f"exit code {outcome['exit_code']}; {outcome['error']}".rstrip("; ")
        self.table.write(self.ended)
        self._remove_checkpoints()
        log.info("%s %s (%s); %s", run.name, outcome["status"], detail, self._progress())

    def _remove_checkpoints(self) -> None:
        """Removes those of finished runs of the table that no other run needs, if asked to."""
        kept = self.unfinished.union(*(run.after for run in self.plan.runs))
        for run in self.table.runs:
            if self.removes and run.name not in kept:
                folder.remove_checkpoints(self.table.workdir(run))

    def _progress(self) -> str:
        """The number of ended runs, their mean duration, and an estimate of the time left."""
        count, left = len(self.plan.runs), len(self.waiting) + len(self.active)
        text = f"{count - left} of {count} runs ended"
        if not self.seconds or not left:
            return text
        mean, now = statistics.fmean(self.seconds), time.monotonic()
        begun = sum(min(mean, now - child.began) for _, child in self.active)
        seconds = (mean * left - begun) / self.num_slots
        return f"{text}, {_duration(mean)} each, about {_duration(seconds)} left"

    def _stop(self) -> None:
        """Asks all active runs to save and stop, and waits for them."""
        if self.active:
            log.warning("waiting for %d active runs to save and stop", len(self.active))
        for _, child in self.active:
            child.process.terminate()
        for _, child in self.active:
            child.process.wait()
        for run, child in list(self.active):
            self._record(run, child)


def _duration(seconds: float) -> str:
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"

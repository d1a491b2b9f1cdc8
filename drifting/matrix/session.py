"""Works off jobs, or says what that would be."""

import contextlib
import logging
import pathlib
import shlex
import signal
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from drifting.matrix import outcomes
from drifting.matrix.jobs import Job, set_aside
from drifting.matrix.outcomes import Row
from drifting.matrix.processes import Child

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1


def describe(jobs: Sequence[Job], slots: Sequence[str | None]) -> None:
    """Prints what a session would do and the commands for it; writes and starts nothing."""
    actions = [job.next_action() for job in jobs]
    for job, action in zip(jobs, actions, strict=True):
        commands = " && ".join(map(shlex.join, job.commands))
        print(f"{action:8}{job.name}" + ("" if action == "skip" else f": {commands}"))
    where = "on CPUs" if slots[0] is None else f"on GPUs {', '.join(map(str, slots))}"
    done = actions.count("skip")
    print(f"{len(jobs)} runs, {done} finished, {len(jobs) - done} to do, {len(slots)} at a time "
          f"{where}")  # fmt: skip


@contextlib.contextmanager
def noted_signals() -> Iterator[list[int]]:
    """The signals that asked to stop, as they come; one that is ignored (nohup) stays so."""
    noted: list[int] = []
    wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {n: signal.getsignal(n) for n in wanted if signal.getsignal(n) != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, lambda number, _: noted.append(number))
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Session:
    """Works off jobs in their order, one in each slot.

    Args:
      jobs: also those that are finished.
      slots: a GPU, or None for the CPU, for each of the jobs at a time.
      logs: folder of the jobs' logs.
      lock: descriptor that the processes inherit.
      ended: how jobs ended in earlier sessions, by name: the cells of outcomes.OUTCOME.
      write_tables: is handed `ended` at the beginning and after every job.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        slots: Sequence[str | None],
        logs: pathlib.Path,
        lock: int,
        ended: Mapping[str, Row],
        write_tables: Callable[[Mapping[str, Row]], None],
    ):
        self.jobs, self.logs, self.lock = jobs, logs, lock
        self.waiting = deque(job for job in jobs if not job.result())
        self.children: list[Child] = []
        self.free, self.num_slots = list(slots), len(slots)
        self.seconds: list[float] = []  # of the jobs that this session finished
        self.ended, self.write_tables = dict(ended), write_tables

    def work(self, signals: Sequence[int]) -> None:
        """Starts what is missing, as slots become free, until all have ended or a signal came."""
        log.info("%d of %d runs are finished", len(self.jobs) - len(self.waiting), len(self.jobs))
        self.write_tables(self.ended)
        try:
            while (self.waiting or self.children) and not signals:
                while self.waiting and self.free:
                    self._launch(self.waiting.popleft())
                for child in [c for c in self.children if not c.advance()]:
                    self._record(child)
                time.sleep(POLL_SECONDS)
        finally:
            self._stop()

    def conclude(self) -> int:
        """Names what is not finished; returns the exit code."""
        rows = [
            {"name": job.name, **outcomes.cells(bool(job.result()), self.ended.get(job.name, {}))}
            for job in self.jobs
        ]
        lines = outcomes.unfinished_lines(rows)
        if lines:
            log.error("%d of %d runs are not finished, see %s:\n%s",
                      len(lines), len(self.jobs), self.logs, "\n".join(lines))  # fmt: skip
        return 1 if lines else 0

    def _launch(self, job: Job) -> None:
        action = job.next_action()
        if action == "restart":
            set_aside(job.workdir)
        slot = self.free.pop(0)
        self.children.append(Child(job, slot, self.logs / f"{job.name}.log", self.lock))
        self.ended.pop(job.name, None)
        log.info("%s %s%s", action, job.name, "" if slot is None else f" on GPU {slot}")

    def _record(self, child: Child) -> None:
        """Notes how a job ended, says so, and brings the tables up to date."""
        self.children.remove(child)
        self.free.append(child.slot)
        result = child.job.result()
        outcome = child.outcome(result is not None)
        self.ended[child.job.name] = outcome
        if result:
            self.seconds.append(time.monotonic() - child.began)
            detail = child.job.headline(result)
        else:
            detail = f"exit code {outcome['exit_code']}; {outcome['error']}".rstrip("; ")
        self.write_tables(self.ended)
        log.info("%s %s (%s); %s", child.job.name, outcome["status"], detail, self._progress())

    def _progress(self) -> str:
        """How many jobs have ended, at what rate, and about how long the others will take."""
        left = len(self.waiting) + len(self.children)
        text = f"{len(self.jobs) - left} of {len(self.jobs)} runs ended"
        if not self.seconds or not left:
            return text
        mean, now = statistics.fmean(self.seconds), time.monotonic()
        begun = sum(min(mean, now - child.began) for child in self.children)
        seconds = (mean * left - begun) / self.num_slots
        return f"{text}, {_duration(mean)} each, about {_duration(seconds)} left"

    def _stop(self) -> None:
        """Asks all jobs to save and end, and waits for them; without children it does nothing."""
        if self.children:
            log.warning("waiting until the runs at work (%d) have saved", len(self.children))
        for child in self.children:
            child.process.terminate()
        for child in self.children:
            child.process.wait()
        for child in list(self.children):
            self._record(child)


def _duration(seconds: float) -> str:
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"

"""Works off the runs of a matrix, or says what that would be."""

import contextlib
import logging
import os
import pathlib
import shlex
import signal
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence

from drifting.matrix import folder, tables
from drifting.matrix.plan import MatrixRun, read_matrix
from drifting.matrix.processes import TRAIN, Child, choose_slots
from drifting.matrix.workdirs import next_action, read_result, set_aside

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1


def describe(matrix: str | os.PathLike, out: str | os.PathLike, jobs: int | None = None) -> None:
    """Prints what `run` would do and the commands for it; writes and starts nothing.

    Raises:
      MatrixError: the matrix cannot be run.
    """
    runs, slots, out = read_matrix(matrix), choose_slots(jobs), pathlib.Path(out)
    actions = [next_action(out / run.name) for run in runs]
    for run, action in zip(runs, actions, strict=True):
        command = shlex.join([*TRAIN, *run.arguments((out / run.name).absolute())])
        print(f"{action:8}{run.name}" + ("" if action == "skip" else f": {command}"))
    where = "on CPUs" if slots[0] is None else f"on GPUs {', '.join(slots)}"
    done = actions.count("skip")
    print(f"{len(runs)} runs, {done} finished, {len(runs) - done} to do, {len(slots)} at a time "
          f"{where}")  # fmt: skip


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
      MatrixError: the matrix cannot be run, or `out` is in use or of another one.
    """
    runs, slots, out = read_matrix(matrix), choose_slots(jobs), pathlib.Path(out)
    with folder.locked(out) as lock, _noted_signals() as signals:
        folder.remember_settings(runs, out)
        session = Session(runs, out, slots, command, lock)
        session.work(signals)
        return 128 + signals[0] if signals else session.conclude()


@contextlib.contextmanager
def _noted_signals() -> Iterator[list[int]]:
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
    """Works off the runs of a matrix, one process in each slot.

    Args:
      runs: all runs, in the order of the table.
      slots: a GPU, or None for the CPU, for each of the runs at a time.
      command: what a run's arguments are handed to.
      lock: descriptor that the processes inherit.
    """

    def __init__(
        self,
        runs: Sequence[MatrixRun],
        out: pathlib.Path,
        slots: Sequence[str | None],
        command: Sequence[str],
        lock: int,
    ):
        self.runs, self.out, self.command, self.lock = runs, out, command, lock
        missing = [run for run in runs if not read_result(out / run.name)]
        # Seed by seed, so that an early look at the table compares every cell with every other.
        self.waiting = deque(sorted(missing, key=lambda run: run.seed))
        self.children: list[Child] = []
        self.free, self.num_slots = list(slots), len(slots)
        self.seconds: list[float] = []  # of the runs that this session finished
        self.outcomes = tables.read_outcomes(out)

    def work(self, signals: Sequence[int]) -> None:
        """Starts what is missing, as slots become free, until all have ended or a signal came."""
        log.info("%d of %d runs are finished", len(self.runs) - len(self.waiting), len(self.runs))
        tables.write(self._rows(), self.out)
        try:
            while (self.waiting or self.children) and not signals:
                while self.waiting and self.free:
                    self._launch(self.waiting.popleft())
                for child in [c for c in self.children if c.process.poll() is not None]:
                    self._record(child)
                time.sleep(POLL_SECONDS)
        finally:
            self._stop()

    def conclude(self) -> int:
        """Names the tables and what is not finished; returns the exit code."""
        log.info("tables: %s, and summary.md beside it", self.out / "matrix.csv")
        lines = tables.unfinished_lines(self._rows())
        if lines:
            where = self.out / "logs"
            log.error("%d of %d runs are not finished, see %s:\n%s",
                      len(lines), len(self.runs), where, "\n".join(lines))  # fmt: skip
        return 1 if lines else 0

    def _launch(self, run: MatrixRun) -> None:
        workdir = (self.out / run.name).absolute()
        action = next_action(workdir)
        if action == "restart":
            set_aside(workdir)
        slot = self.free.pop(0)
        command = [*self.command, *run.arguments(workdir)]
        path = self.out / "logs" / f"{run.name}.log"
        self.children.append(Child.start(run, command, slot, path, self.lock))
        self.outcomes.pop(run.name, None)
        log.info("%s %s%s", action, run.name, "" if slot is None else f" on GPU {slot}")

    def _record(self, child: Child) -> None:
        """Notes how a run ended, says so, and brings the tables up to date."""
        self.children.remove(child)
        self.free.append(child.slot)
        result = read_result(self.out / child.run.name)
        outcome = child.outcome(result is not None)
        self.outcomes[child.run.name] = outcome
        if result:
            self.seconds.append(time.monotonic() - child.began)
            detail = f"accuracy {100 * result['accuracy']:.2f} %"
        else:
            detail = f"exit code {outcome['exit_code']}; {outcome['error']}".rstrip("; ")
        tables.write(self._rows(), self.out)
        log.info("%s %s (%s); %s", child.run.name, outcome["status"], detail, self._progress())

    def _rows(self) -> list[tables.Row]:
        return tables.make_rows(self.runs, self.out, self.outcomes)

    def _progress(self) -> str:
        """How many runs have ended, and about how long the others will take."""
        left = len(self.waiting) + len(self.children)
        text = f"{len(self.runs) - left} of {len(self.runs)} runs ended"
        if not self.seconds or not left:
            return text
        mean, now = statistics.fmean(self.seconds), time.monotonic()
        begun = sum(min(mean, now - child.began) for child in self.children)
        seconds = (mean * left - begun) / self.num_slots
        hours, minutes = divmod(max(1, round(seconds / 60)), 60)
        remaining = f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
        return f"{text}, about {remaining} left"

    def _stop(self) -> None:
        """Asks all runs to save and end, and waits for them; without children it does nothing."""
        if self.children:
            log.warning("waiting until the runs at work (%d) have saved", len(self.children))
        for child in self.children:
            child.process.terminate()
        for child in self.children:
            child.process.wait()
        for child in list(self.children):
            self._record(child)

"""A run as processes, on a GPU of its own if there are any."""

import os
import pathlib
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from typing import IO, Any

from drifting.suites.suite import ROOT, SuiteError

_TAIL = 65536  # bytes read from the end of a log, more than any last line


def visible_gpus() -> list[str]:
    """A value of CUDA_VISIBLE_DEVICES for each GPU; empty on CPUs."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu.strip() for gpu in chosen.split(",") if gpu.strip() not in ("", "-1")]
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    gpus = [line for line in done.stdout.splitlines() if line.startswith("GPU ")]
    return [str(i) for i in range(len(gpus))]


def choose_slots(jobs: int | None) -> list[str | None]:
    """A GPU, or None for the CPU, for each concurrent run.

    Raises:
      SuiteError: there are fewer GPUs than jobs.
    """
    gpus = visible_gpus()
    if not gpus:
        return [None] * (jobs or 1)
    if jobs and jobs > len(gpus):
        raise SuiteError(
            f"--jobs {jobs}: each run needs a GPU of its own, and {len(gpus)} can be seen "
            f"({', '.join(gpus)}); choose at most {len(gpus)}"
        )
    return list(gpus[:jobs])


class Child:
    """A running run: its commands, one after the other.

    Args:
      commands: each is started only if the previous one succeeded.
      slot: a GPU, or None for the CPU.
      log: file to which each command and its output are appended.
      lock: file descriptor that the processes inherit.

    Attributes:
      process: the current or last command.
      began: time.monotonic() at the start, in seconds.
    """

    def __init__(
        self, commands: Sequence[Sequence[str]], slot: str | None, log: pathlib.Path, lock: int
    ):
        self.slot = slot
        self.began = time.monotonic()
        self._log, self._lock = log, lock
        self._waiting = deque(commands)
        self._begin()

    def _begin(self) -> None:
        command = self._waiting.popleft()
        with open(self._log, "ab") as file:
            file.write(f"$ {shlex.join(command)}\n".encode())
            file.flush()
            self._output = file.tell()  # offset of the command's output in the log, in bytes
            self.process = _spawn(command, self.slot, file, self._lock)

    def advance(self) -> bool:
        """Starts the next command if one has succeeded; returns whether any is running."""
        code = self.process.poll()
        if code == 0 and self._waiting:
            self._begin()
            return True
        return code is None

    def outcome(self, finished: bool) -> dict[str, Any]:
        """The cells of the table that say how it ended."""
        code = self.process.returncode
        if finished:
            return {"status": "finished", "exit_code": code, "error": ""}
        stopped = code in (128 + signal.SIGTERM, -signal.SIGTERM)
        if stopped or (code == 0 and self._waiting):
            return {"status": "stopped", "exit_code": code, "error": ""}
        error = self._last_line()
        if code < 0:
            error = f"{signal.Signals(-code).name}: {error}"
        elif code == 0:
            error = f"ended without a readable result: {error}"
        return {"status": "failed", "exit_code": code, "error": error}

    def _last_line(self) -> str:
        """The last line of its output, which usually says what went wrong."""
        with open(self._log, "rb") as file:
            file.seek(max(self._output, self._log.stat().st_size - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


def _spawn(command: Sequence[str], slot: str | None, output: IO, lock: int) -> subprocess.Popen:
    """Starts a command in the repository; stdout and stderr go to `output`, unbuffered."""
    # By default the last line of a JAX error is a note on hidden frames, not the error.
    environment = {**os.environ, "JAX_TRACEBACK_FILTERING": "off", "PYTHONUNBUFFERED": "1"}
    if slot is not None:
        environment["CUDA_VISIBLE_DEVICES"] = slot
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=(lock,),
        process_group=0,  # Ctrl-C reaches only the session, which sends SIGTERM to its runs
    )

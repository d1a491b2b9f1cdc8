"""Plots that are drawn while a run goes on, by a process of their own."""

import contextlib
import json
import logging
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

import numpy as np

from drifting import pictures
from drifting.core.files import naming, write_atomically
from drifting.pictures import live

log = logging.getLogger(__name__)

NO_PLOTS = "live plots are off from here on: %s"
_ROOT = str(pathlib.Path(pictures.__file__).resolve().parents[2])
_PROGRAM = "from drifting.pictures import live; live.serve()"


class LivePlots:
    """The plots <folder>/<metric>.png of a run, of the values of every step.

    The values are in files next to the plots, for resumed runs. A plot that fails is a warning.

    Args:
      folder: created with the first values.
      names: of the metrics; without any, nothing is drawn.
      last_step: of the checkpoint that the run resumes from, or -1. The values of later steps are
        dropped.
    """

    def __init__(self, folder: pathlib.Path, names: Sequence[str], last_step: int):
        self._folder, self._names, self._step = folder, list(names), max(last_step, 0)
        self._files: dict[str, IO[bytes]] = {}
        self._drawer: _Drawer | None = None
        self._warned = self._off = False
        try:
            for path in folder.glob(f"*{live.SUFFIX}"):
                os.truncate(path, min(path.stat().st_size, 4 * self._step))
        except OSError as error:
            self._end(error)

    def add(self, values: Mapping[str, np.ndarray], steps: int) -> None:
        """Keeps the first `steps` of the values, which are those of the next steps."""
        if self._off or not self._names:
            return
        try:
            if not self._files:
                self._folder.mkdir(exist_ok=True)
                paths = {name: live.values_path(self._folder, name) for name in self._names}
                self._files = {name: _continued(p, self._step) for name, p in paths.items()}
            for name, file in self._files.items():
                with naming(live.values_path(self._folder, name)):
                    file.write(values[name][:steps].astype(live.VALUES).tobytes())
            self._step += steps
        except OSError as error:
            self._end(error)

    def ready(self) -> bool:
        """Whether a drawing can begin: plots are on, and the last drawing has ended."""
        if self._off or not self._names:
            return False
        if self._drawer is None:
            return True
        try:
            failed = self._drawer.poll()
        except (OSError, ValueError) as error:  # it has ended, or its answer makes no sense
            self._end(error)
            return False
        if failed and not self._warned:
            self._warned = True
            log.warning("%s was not drawn; training goes on", self._folder / failed[0])
        return failed is not None

    def draw(self) -> None:
        """Starts drawing all plots, up to the last step with values; `ready` must have said yes."""
        try:
            self._drawer = self._drawer or _Drawer()
            self._drawer.request(self._folder, self._names, self._step)
        except OSError as error:
            self._end(error)

    def _end(self, error: Exception) -> None:
        self._off = True
        log.warning(NO_PLOTS, error)

    def close(self) -> None:
        """Draws the plots of all steps; one that is being drawn elsewhere is abandoned."""
        if self._drawer:
            self._drawer.stop(self._folder)
        for file in self._files.values():
            file.close()
        for name in self._names:
            if self._step and live.values_path(self._folder, name).exists():
                with pictures.attempt(live.picture_path(self._folder, name)):
                    live.draw(self._folder, name, self._step)


def _continued(path: pathlib.Path, steps: int) -> IO[bytes]:
    """A file of the values of so many steps, open to write those of the steps after them.

    Steps that it lacks, of a part of the run without plots, are NaN.
    """
    values = live.read_values(path, steps) if path.exists() else np.full(steps, np.nan)
    write_atomically(path, values.astype(live.VALUES).tobytes())
    return open(path, "ab", buffering=0)


class _Drawer:
    """A process that draws, see drifting/pictures/live.py. It ends when this process does."""

    def __init__(self):
        path = os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))
        # In a process group of its own, so that Ctrl-C in a terminal does not reach it. Not in a
        # session of its own: there Linux's autogroups would make its niceness meaningless.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": path},
            process_group=0,
        )
        os.set_blocking(self._process.stdout.fileno(), False)
        self._answer = b""

    def request(self, folder: pathlib.Path, names: Sequence[str], step: int) -> None:
        """Asks for the plots of a folder."""
        asked = {"folder": os.path.abspath(folder), "names": names, "step": step}
        self._answer = b""
        with contextlib.suppress(BrokenPipeError):  # `poll` says that the process has ended
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")

    def poll(self) -> list[str] | None:
        """What could not be drawn, and why; None while it is still drawing.

        Raises:
          OSError: the process has ended.
        """
        with contextlib.suppress(BlockingIOError):
            while not self._answer.endswith(b"\n"):
                read = os.read(self._process.stdout.fileno(), 2**16)
                if not read:
                    raise OSError(f"their process ended with code {self._process.wait()}")
                self._answer += read
        return json.loads(self._answer) if self._answer.endswith(b"\n") else None

    def stop(self, folder: pathlib.Path) -> None:
        """Ends the process, and removes the file that it may have been writing."""
        self._process.kill()
        with self._process:  # closes the pipes, and waits
            pass
        for path in folder.glob(f".*.{self._process.pid}.tmp"):
            path.unlink()

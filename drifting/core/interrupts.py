"""Requests to stop, by SIGTERM, SIGHUP or Ctrl-C, from the first moment of a process.

An entry point calls `listen` before its slow imports. From then on a request ends the process at
once, with one line and exit code 128 + the signal's number. Work that would be lost is a
`Deferral`: there a request is only noted until the work is saved, and a second Ctrl-C ends the
process at once.

Python runs signal handlers only between two of its own instructions, which is never during an XLA
compilation. The handler in C runs always, and writes the signal's number to a pipe
(`signal.set_wakeup_fd`); a thread reads it and does the same as the handler in Python.
"""

import contextlib
import os
import signal
import sys
import threading
from typing import Any, NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

_listening = False
_noted: list[int] = []  # by the handler in Python
_deferral: "Deferral | None" = None  # the one that has begun
_deferred = 0  # requests that the handler in Python left to a `Deferral`
_ending = threading.Lock()


def listen() -> None:
    """Ends this process cleanly on request; ignored signals (nohup) stay ignored."""
    global _listening
    if _listening:
        return
    _listening = True
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _handle)
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(read,), daemon=True).start()


def noted() -> bool:
    """Whether a request to stop was noted, by the last `Deferral`."""
    return bool(_noted)


class Deferral:
    """A context in which, from `begin` on, a request to stop is only noted.

    Whoever opens it looks at `asked`, saves, and leaves it early. In a program that does not
    `listen`, SIGTERM alone is noted.
    """

    def __enter__(self) -> "Deferral":
        _noted.clear()
        self._before = None
        return self

    def begin(self) -> None:
        """From here on there is something to save."""
        global _deferral
        if _deferral is self:
            return
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            self._before = signal.signal(signal.SIGTERM, _handle)
        _deferral = self

    def end(self) -> None:
        """From here on there is nothing to save, until `begin` is called again."""
        global _deferral
        if _deferral is self:
            _deferral = None
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    @property
    def asked(self) -> signal.Signals | None:
        """The first signal that was noted."""
        return signal.Signals(_noted[0]) if _noted else None

    def __exit__(self, *_: Any) -> None:
        self.end()


def exit_now(code: int) -> NoReturn:
    """Ends the process without the interpreter's shutdown, in which JAX's threads may crash."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _handle(number: int, frame: Any) -> None:
    del frame
    global _deferred
    _noted.append(number)
    _deferred += _deferral is not None
    _act(_noted)


def _watch(pipe: int) -> None:
    """Reads the signals' numbers; those that the program handles in another way are not ours."""
    received = []
    while numbers := os.read(pipe, 64):
        for number in numbers:
            if signal.getsignal(number) != _handle:
                continue
            received.append(number)
            if len(received) > _deferred:  # else this thread is late: it is being dealt with
                _act(received)


def _act(requests: list[int]) -> None:
    if _deferral and not (len(requests) > 1 and requests[-1] == signal.SIGINT):
        return
    if not _ending.acquire(blocking=False):
        return  # the other one of `_handle` and `_watch` is ending the process
    name = signal.Signals(requests[-1]).name
    kept = "what was written before is kept, and the same command can be run again"
    with contextlib.suppress(OSError):  # nobody reads stderr
        os.write(2, f"\n{name}: stopped at once; {kept}\n".encode())
    os._exit(128 + requests[-1])

"""Atomic writes, locks that end with their process, and the cache folder."""

import contextlib
import fcntl
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import IO, Any


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file atomically: a reader sees all of it or nothing."""
    with replacing(path) as file:
        file.write(content)


def write_json(path: str | os.PathLike, content: Mapping[str, Any]) -> None:
    """Writes `content` as indented JSON, whole or not at all; arrays become lists."""
    write_atomically(path, to_json(content, indent=2) + b"\n")


def to_json(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    """`content` as JSON in UTF-8; NumPy and JAX arrays and scalars become lists and numbers."""
    return json.dumps(dict(content), indent=indent, default=_plain).encode()


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} {value!r} has no JSON form")


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """Yields a binary file that replaces `path` once it is complete and on the disk.

    If writing fails, the file at `path` stays as it was.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Adds the name of the file to an OSError that has none, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


class InUse(OSError):
    """Another process holds the lock; `holder` is its process id, as text."""

    def __init__(self, path: pathlib.Path, holder: str):
        super().__init__(f"{path} is locked by process {holder}")
        self.holder = holder


def lock(descriptor: int, wait: bool = True) -> None:
    """Locks an open file until all of its descriptors are closed.

    Raises:
      BlockingIOError: another process holds the lock and `wait` is false.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextlib.contextmanager
def locked(path: str | os.PathLike, wait: bool = True) -> Iterator[int]:
    """Holds the lock file `path`, which is created if needed; yields its descriptor.

    The system releases the lock when the last process with the descriptor ends, so a killed process
    never leaves one behind.

    Raises:
      InUse: another process holds it and `wait` is false.
      OSError: the file cannot be created.
    """
    path = pathlib.Path(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            lock(descriptor, wait)
        except BlockingIOError as error:
            raise InUse(path, os.pread(descriptor, 32, 0).decode()) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def holder(path: str | os.PathLike) -> str | None:
    """The process that holds the lock file `path`, as text; None if none does. Nothing is written.

    Raises:
      OSError: that cannot be found out, as on a file system without locks.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)  # on NFS only a writer may lock
    except FileNotFoundError:
        return None
    try:
        lock(descriptor, wait=False)
        return None
    except BlockingIOError:
        return os.pread(descriptor, 32, 0).decode()
    finally:
        os.close(descriptor)


def require_writable(folder: pathlib.Path) -> None:
    """Creates the folder if needed; raises OSError if files cannot be created in it."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".write_test.{os.getpid()}"
    probe.touch()
    probe.unlink()


def cache_dir() -> pathlib.Path:
    """The project's cache folder: DRIFTING_CACHE, or `drifting` in the user's cache folder."""
    given = os.environ.get("DRIFTING_CACHE")
    if given:
        return pathlib.Path(given).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "drifting"

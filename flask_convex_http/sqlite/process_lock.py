"""A lock among processes that is taken in turns.

SQLite alone lets waiting writers race: of eight processes that write all the time, one may get every turn. So does
flock() for who lets go of a lock and at once asks for it again. Here a process first needs the place at the head of
the queue, a second lock, which it keeps until it has the first: whoever stands there is next, whatever others do.

The locks lie on files of their own beside the database, because closing another handle on the database itself would
drop SQLite's own locks on it. The kernel lets go of both when their process dies.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

from flask_convex_http.errors import EngineError


class FileLock:
    """A lock that one process at a time can hold; within a process, one thread at a time may use it.

    Args:
        path: The file it is for; the locks lie beside it, made at the first use and never removed.
    """

    def __init__(self, path: Path) -> None:
        self._lock = _Flock(path.with_name(f"{path.name}.lock"))
        self._head = _Flock(path.with_name(f"{path.name}.queue"))

    def try_acquire(self) -> bool:
        """Take it if nobody has it or waits for it; whether that worked."""
        if not self._head.take(fcntl.LOCK_NB):
            return False
        try:
            return self._lock.take(fcntl.LOCK_NB)
        finally:
            self._head.release()

    def acquire(self) -> None:
        """Wait for it, without a limit."""
        self._head.take()
        try:
            self._lock.take()
        finally:
            self._head.release()

    def release(self) -> None:
        """Let the next one have it."""
        self._lock.release()

    def close(self) -> None:
        """Let go of the files."""
        self._lock.close()
        self._head.close()


class _Flock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        _ALL.add(self)

    def take(self, flags: int = 0) -> bool:
        try:
            descriptor = self._descriptor
            if descriptor is None:
                # To read is enough, so that a file made by root, in a cron job say, locks nobody else out.
                descriptor = self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CREAT, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
        except BlockingIOError:
            return False
        except OSError as error:
            raise EngineError(f"The lock file {self._path} cannot be used: {error}") from error
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.close()


_ALL: weakref.WeakSet[_Flock] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # A child shares its parent's hold of a lock: kept open, it would keep the lock when the parent has died.
    for lock in list(_ALL):
        lock.close()


os.register_at_fork(after_in_child=_after_fork_in_child)

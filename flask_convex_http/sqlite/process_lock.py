"""A fair lock among processes.

SQLite lets waiting writers race: of eight busy processes one may get every turn. flock() does the same for a process
that releases a lock and acquires it again at once. Here a process first acquires a second lock, the head of the queue,
and holds it until it has the first one. The process at the head is next, so no process starves.

Both locks are on files of their own beside the database, since closing another handle on the database file drops
SQLite's own locks. The kernel releases them when their process dies.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

from flask_convex_http.errors import UnavailableError
from flask_convex_http.sqlite.rights import open_beside


class ProcessLock:
    """A fair lock that one process at a time can hold. Within a process, one thread at a time may use it.

    Args:
        path: The database file. The files of the locks are beside it, created at the first use and never deleted.
    """

    def __init__(self, path: Path) -> None:
        self._lock = _Flock(path, "lock")
        self._head = _Flock(path, "queue")
        self._is_stale = False

    def try_acquire(self) -> bool:
        """Acquire the lock if no process holds it or waits for it. Return whether it was acquired."""
        if not self._head.take(fcntl.LOCK_NB):
            return False
        try:
            return self._lock.take(fcntl.LOCK_NB)
        finally:
            self._head.release()

    def acquire(self) -> None:
        """Acquire the lock, without a timeout."""
        self._head.take()
        try:
            self._lock.take()
        finally:
            self._head.release()

    def release(self) -> None:
        """Release the lock."""
        if self._is_stale:
            self._is_stale = False
            self.close()
        else:
            self._lock.release()

    def renew(self) -> None:
        """Close the files at the next release. They may have been deleted together with the database."""
        self._is_stale = True

    def close(self) -> None:
        """Close the files."""
        self._lock.close()
        self._head.close()


class _Flock:
    def __init__(self, database: Path, ending: str) -> None:
        self._database = database
        self._path = database.with_name(f"{database.name}.{ending}")
        self._descriptor: int | None = None
        _ALL.add(self)

    def take(self, flags: int = 0) -> bool:
        try:
            descriptor = self._descriptor
            if descriptor is None:
                descriptor = self._descriptor = open_beside(self._path, self._database, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
        except BlockingIOError:
            return False
        except OSError as error:
            detail = f"{self._path} cannot be used: {error.strerror}"
            raise UnavailableError(
                "The database cannot be used at the moment", by_engine=True, detail=detail
            ) from error
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
    # A child shares its parent's locks: an open file would keep the lock held after the parent's death.
    for lock in list(_ALL):
        lock.close()


os.register_at_fork(after_in_child=_after_fork_in_child)

"""Connections to a SQLite file: lent to one caller at a time, closed before a fork().

Each connection is used by one thread at a time and by one process only. Merely to open new ones after a fork() could
lose data: SQLite remembers per process which locks it holds on a file, and a child inherits that memory but not the
locks. So idle connections are closed before a fork(), and those in use are waited for a moment. If one is in use
nevertheless, the child leaves it alone and is refused the file, which it could read wrong.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

# sqlite-utils switches to pysqlite3 where that is installed. Two SQLite libraries on one file in one process drop
# each other's locks, so the package takes the driver from nowhere else.
from sqlite_utils.utils import sqlite3 as sqlite3  # type: ignore[attr-defined]  # not declared as exported

from flask_convex_http.errors import EngineError

#: What the driver raises: also for an integer of more than 64 bits, and for half a surrogate pair.
DRIVER_ERRORS = (sqlite3.Error, OverflowError, UnicodeEncodeError, MemoryError)

#: What SQLite says when not the statement is wrong but the disk: SQLITE_FULL, SQLITE_IOERR and SQLITE_CANTOPEN.
DISK_FAILURES = frozenset({"database or disk is full", "disk I/O error", "unable to open database file"})

#: Seconds a fork() waits for connections in use; most are for less than a millisecond.
_FORK_PATIENCE = 1.0

_pid = os.getpid()


def this_process() -> int:
    """The id of this process, without the system call, which a request would make five times."""
    return _pid


class Process:
    """What belongs to one process: its connections to one file."""

    def __init__(self, *, forked_in_use: bool = False) -> None:
        self.pid = this_process()
        self.forked_in_use = forked_in_use
        self.idle: deque[Any] = deque()
        self.lent = 0
        self._mutex = threading.Lock()
        self._may_lend = threading.Event()
        self._may_lend.set()

    def enter(self) -> None:
        """Count a loan, from before a connection is opened for it."""
        while True:
            with self._mutex:
                if self._may_lend.is_set():
                    self.lent += 1
                    return
            self._may_lend.wait()

    def leave(self) -> None:
        """The connection is back, or closed."""
        with self._mutex:
            self.lent -= 1

    @property
    def is_paused(self) -> bool:
        """Whether a fork() waits for the connections."""
        return not self._may_lend.is_set()

    def pause(self) -> None:
        """Lend nothing for now, wait for what is lent, and close it all."""
        with self._mutex:
            self._may_lend.clear()
        deadline = time.monotonic() + _FORK_PATIENCE
        while self.lent and time.monotonic() < deadline:
            time.sleep(0.001)
        self.close_idle()

    def resume(self) -> None:
        """Lend again."""
        self._may_lend.set()

    def close_idle(self) -> None:
        """Close the connections that nobody uses."""
        with contextlib.suppress(IndexError):
            while True:
                self.idle.pop().close()


class Connections:
    """The connections to one file.

    Args:
        connect: Opens a new one.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._process = Process()
        self._abandoned: list[Any] = []
        with _forking:
            _ALL.add(self)

    def here(self) -> Process:
        """What belongs to this process."""
        return self._process

    def start_in_child(self) -> None:
        """Begin anew in a child of fork()."""
        parent = self._process
        self._abandoned.append(parent)  # closing a connection here would disturb the parent
        self._process = Process(forked_in_use=parent.lent > 0)

    def take(self, process: Process) -> Any:
        """An idle connection, or a new one."""
        process.enter()
        try:
            return process.idle.pop()
        except IndexError:
            return self._new(process)

    def _new(self, process: Process) -> Any:
        try:
            if process.forked_in_use:
                raise EngineError(
                    "This process was forked while its parent was using the database, so it cannot use it safely; "
                    "start processes outside of functions, or with multiprocessing's spawn method"
                )
            return self._connect()
        except BaseException:
            process.leave()
            raise

    def give(self, process: Process, connection: Any) -> None:
        """Take a connection back."""
        if process.pid != this_process():
            self._abandoned.append(connection)
            return
        if connection.in_transaction:  # only if a rollback failed: nobody should get such a connection
            connection.close()
        else:
            process.idle.append(connection)
        process.leave()

    @contextlib.contextmanager
    def lend(self) -> Iterator[Any]:
        """A connection for a with statement."""
        process = self.here()
        connection = self.take(process)
        try:
            yield connection
        finally:
            self.give(process, connection)

    def close(self) -> None:
        """Close this process's idle connections."""
        self.here().close_idle()


# --- forks -------------------------------------------------------------------------------------------------------

#: Held from before a fork() until after it, so that two do not mix, and no child inherits it in strange hands.
_forking = threading.Lock()
_ALL: weakref.WeakSet[Connections] = weakref.WeakSet()
_paused: list[Process] = []


def _before_fork() -> None:
    _forking.acquire()
    _paused.extend(connections.here() for connections in _ALL)
    for process in _paused:
        process.pause()


def _after_fork_in_parent() -> None:
    for process in _paused:
        process.resume()
    _paused.clear()
    _forking.release()


def _after_fork_in_child() -> None:
    global _pid
    _pid = os.getpid()
    _paused.clear()
    for connections in list(_ALL):
        connections.start_in_child()
    _forking.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)

"""Connections to a SQLite file: lent to one caller at a time, and closed before a fork().

A connection belongs to one process and is used by one thread at a time. A fork() with open connections could lose data:
SQLite remembers per process which locks it holds on a file, and a child inherits that memory but not the locks. Idle
connections are therefore closed before a fork(), which waits a moment for the others. If one is still in use, the child
leaves it alone, and is refused the file, which it could read wrongly.

Connections whose files were deleted or replaced are retired: closed at once, or when they are given back. No new one is
opened before that, since SQLite would let it share the index of the old write-ahead log.
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

# sqlite-utils switches to pysqlite3 if that is installed. Two SQLite libraries on one file in one process drop each
# other's locks, so every module of the package imports the driver from here.
from sqlite_utils.utils import sqlite3 as sqlite3  # type: ignore[attr-defined]  # not declared as exported

from flask_convex_http.errors import EngineError
from flask_convex_http.sqlite.late_rows import LateRows
from flask_convex_http.sqlite.open_files import OpenFiles
from flask_convex_http.sqlite.shared_lock import SharedLock

#: Exceptions of the driver, also for an integer of more than 64 bits and for a lone surrogate.
DRIVER_ERRORS = (sqlite3.Error, OverflowError, UnicodeEncodeError, MemoryError)

#: SQLITE_CANTOPEN, SQLITE_READONLY, and a message of this package.
UNOPENED, READ_ONLY, REPLACED = (
    "unable to open database file",
    "attempt to write a readonly database",
    "its files were replaced or removed",
)
#: Messages of a failing disk or folder, not of a wrong statement: also SQLITE_FULL and SQLITE_IOERR.
DISK_FAILURES = frozenset({"database or disk is full", "disk I/O error", UNOPENED, READ_ONLY, REPLACED})

#: Seconds that a fork() waits for connections in use. Most uses take less than a millisecond.
_FORK_PATIENCE = 1.0
#: Seconds between two looks of a process at its files while it only reads.
_LOOK_SECONDS = 1.0
#: Seconds that a new connection waits for retired ones in use.
_RETIREMENT_SECONDS = 1.0

_pid = os.getpid()


def is_damage(error: Exception) -> bool:
    """Return whether a driver's error means that the file is damaged (SQLITE_CORRUPT) or no database (SQLITE_NOTADB).

    The driver raises its base class for these two, and a subclass for all others.
    """
    return type(error) is sqlite3.DatabaseError


def this_process() -> int:
    """Return the id of this process without a system call. A request asks for it five times."""
    return _pid


class Connection(sqlite3.Connection):
    """A connection of the driver.

    Attributes:
        files: The files that it has open.
        late_rows: The rows that are written before the next COMMIT.
        generation: The number of retirements before it was opened.
    """

    files: OpenFiles
    late_rows: LateRows
    generation = 0


class Process:
    """The connections of one process to one file."""

    def __init__(self, *, forked_in_use: bool = False) -> None:
        self.pid = this_process()
        self.forked_in_use = forked_in_use
        self.idle: deque[Connection] = deque()
        self.open: set[Connection] = set()
        self.opening = threading.RLock()
        self.shared_lock: SharedLock | None = None
        self.next_look = 0.0
        self.lent = 0
        self.is_paused = False  # while a fork() waits for the connections
        self._mutex = threading.Lock()
        self._may_lend = threading.Event()

    def enter(self) -> None:
        """Count a loan, before a connection is opened for it."""
        while True:
            with self._mutex:
                if not self.is_paused:
                    self.lent += 1
                    return
            self._may_lend.wait()

    def leave(self) -> None:
        """Count the end of a loan."""
        with self._mutex:
            self.lent -= 1

    def pause(self) -> None:
        """Stop lending, wait for the lent connections, and close all."""
        with self._mutex:
            self.is_paused = True
            self._may_lend.clear()
        deadline = time.monotonic() + _FORK_PATIENCE
        while self.lent and time.monotonic() < deadline:
            time.sleep(0.001)
        self.close_idle()

    def resume(self) -> None:
        """Lend again."""
        self.is_paused = False
        self._may_lend.set()

    def close_idle(self) -> None:
        """Close the idle connections."""
        with contextlib.suppress(IndexError):
            while True:
                self.close(self.idle.pop())

    def close(self, connection: Connection) -> None:
        """Close a connection, and with the last one the shared lock, unless another thread opens one."""
        self.open.discard(connection)
        if not self.opening.acquire(blocking=False):
            connection.close()
            return
        try:
            lock = None if self.open else self.shared_lock
            if lock is not None:
                lock.unlock()
            connection.close()
            if lock is not None:
                self.drop_shared_lock()
        finally:
            self.opening.release()

    def is_in_place(self, connection: Connection) -> bool:
        """Return whether the files of a connection are those at the path, with their content."""
        return connection.files.are_in_place() and not self.has_other_content()

    def has_other_content(self) -> bool:
        """Return whether the content of the database file was replaced in place."""
        content = None if self.shared_lock is None else self.shared_lock.content
        return content is not None and not content.is_in_place()

    def drop_shared_lock(self) -> None:
        """Close the shared lock, if there is one. No connection may be open in this process."""
        if self.shared_lock is not None:
            self.shared_lock.close()
            self.shared_lock = None


class Connections:
    """The connections to one file.

    Args:
        connect: Opens a new connection.
        lock: Locks the file, to which the first connection was opened, against the removal of its log.
        replaced: Is called with a connection whose files are not those at the path, and returns the error to raise.

    Attributes:
        generation: The number of retirements so far.
        process: The connections of this process.
        replaced: The argument of this name.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        lock: Callable[[], SharedLock],
        replaced: Callable[[Connection | None], Exception],
    ) -> None:
        self.generation = 0
        self._connect = connect
        self._lock = lock
        self.replaced = replaced
        self.process = Process()
        self._abandoned: list[Any] = []
        with _forking:
            _ALL.add(self)

    def version(self) -> tuple[int, bytes] | None:
        """Return a value that differs after each commit of any process, or None if a read has to be made."""
        process = self.process
        index = None if process.shared_lock is None else process.shared_lock.log_index
        if index is None or time.monotonic() > process.next_look:  # a read looks whether the files are in place
            return None
        header = index.header()
        return None if header is None else (self.generation, header)

    def start_in_child(self) -> None:
        """Start with no connections in a child of fork()."""
        parent = self.process
        self._abandoned.append(parent)  # closing a connection here would disturb the parent
        self.process = Process(forked_in_use=parent.lent > 0)
        parent.drop_shared_lock()  # the parent's own descriptor keeps it locked

    def take(self, process: Process) -> Any:
        """Return an idle connection, or a new one."""
        process.enter()
        try:
            connection = process.idle.pop()
        except IndexError:
            return self._new(process)
        if time.monotonic() > process.next_look:
            self._look(process, connection)
        return connection

    def _look(self, process: Process, connection: Connection) -> None:
        """Look at the files, so that a process without writes finds a new database as well."""
        process.next_look = time.monotonic() + _LOOK_SECONDS
        if process.is_in_place(connection) or connection.files.lost_log() == "missing":  # the next write saves the log
            return
        error = self.replaced(connection)
        self.give(process, connection)
        raise error

    def retire(self, connection: Connection) -> bool:
        """Retire the connections of the generation of this one, and return False if they were retired before."""
        if connection.generation != self.generation:
            return False
        self.generation += 1
        self.process.close_idle()
        return True

    def _new(self, process: Process) -> Any:
        try:
            if process.forked_in_use:
                raise EngineError(
                    "This process was forked while its parent was using the database, so it cannot use it safely; "
                    "start processes outside of functions, or with multiprocessing's spawn method"
                )
            return self._open(process)
        except BaseException:
            process.leave()
            raise

    def _open(self, process: Process) -> Connection:
        deadline = time.monotonic() + _RETIREMENT_SECONDS
        while True:
            with process.opening:
                generation = self.generation
                others = list(process.open)
                if all(other.generation == generation for other in others):
                    return self._open_beside(others, process, generation)
            if time.monotonic() > deadline:
                raise self.replaced(None)
            time.sleep(0.001)

    def _open_beside(self, others: list[Connection], process: Process, generation: int) -> Connection:
        if others and not others[0].files.are_in_place():
            raise self.replaced(others[0])
        if not others:
            process.drop_shared_lock()  # it may be that of another file
        connection = self._connect()
        connection.generation = generation
        process.open.add(connection)
        if process.shared_lock is None:
            process.shared_lock = self._lock()
        return connection

    def give(self, process: Process, connection: Connection) -> None:
        """Take a connection back."""
        if process.pid != this_process():
            self._abandoned.append(connection)
            return
        # In a transaction only after a failed rollback: the connection must not be used again.
        if connection.in_transaction or connection.generation != self.generation:
            process.close(connection)
        else:
            process.idle.append(connection)
        process.leave()

    @contextlib.contextmanager
    def lend(self) -> Iterator[Any]:
        """Lend a connection to a with statement."""
        process = self.process
        connection = self.take(process)
        try:
            yield connection
        finally:
            self.give(process, connection)

    def close(self) -> None:
        """Close the idle connections of this process."""
        self.process.close_idle()


# --- forks -------------------------------------------------------------------------------------------------------

#: Held from before a fork() until after it, so that two forks do not mix and no child inherits it held by a thread
_forking = threading.Lock()
_ALL: weakref.WeakSet[Connections] = weakref.WeakSet()
_paused: list[Process] = []


def _before_fork() -> None:
    _forking.acquire()
    _paused.extend(connections.process for connections in _ALL)
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

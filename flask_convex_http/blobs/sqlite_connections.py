"""Connections to one SQLite file: lent to one caller at a time, writing in turn, closed before a fork.

What lives here is what SQLite demands of a program with many threads and processes, for any file in WAL
mode. Tables, statements and the translation of errors live in the member that uses it. The rules:

* A connection has one user at a time. A returned one waits for the next caller, so there are as many as
  there are calls at once, whether threads live for one request or for ever.
* A writer takes its turn in the process, then a lock on a file beside the database, and only then SQLite's
  own lock. SQLite alone lets waiting writers race: with eight of them on two cores the unluckiest small
  write took 1.5 s, in turn 0.06 s.
* SQLite before 3.51.3 may corrupt the file when two checkpoints race a commit
  (sqlite.org/wal.html#walresetbug). So automatic checkpoints are off. The only one is made here, under the
  lock beside the database, which keeps other checkpoints away, and a write transaction, which keeps the
  commits of other programs away.
* A fork finds none open. Merely to open new ones in the child loses data: SQLite remembers per process which
  locks it holds on a file, and the child inherits that memory but not the locks. So its new connection holds
  none, and the parent, closing what it takes for the last connection, deletes the write-ahead log under the
  child's commits.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Condition, Lock

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from flask_convex_http.errors import EngineError

_log = logging.getLogger(__name__)

#: Seconds a caller waits: for its turn, for the lock beside the database, for writers that do not know it.
_BUSY_SECONDS = 10.0
#: Seconds between two looks at a lock that somebody else holds; a write of 256 KiB takes about two of these.
_LOOK_AGAIN_SECONDS = 0.001
#: A checkpoint syncs twice, so it waits for this much to be written; SQLite's own default is the same.
_CHECKPOINT_BYTES = 4 * 1024 * 1024

#: Connections that a fork behind Python's back carried into this process. Closing one here would disturb the
#: process that opened it, so nothing may ever collect them.
_abandoned: list[sqlite3.Connection] = []


class Connections:
    """The connections of this process to one database file.

    Args:
        path: The file, made with its folder when it is first opened.
        page_bytes: The page size of a file that is made new.
        create_tables: Makes the tables that are missing, given a connection in a write transaction.
    """

    def __init__(self, path: Path, page_bytes: int, create_tables: Callable[[sqlite3.Connection], None]) -> None:
        self._path = path
        self._page_bytes = page_bytes
        self._create_tables = create_tables
        self._idle: list[sqlite3.Connection] = []
        self._is_prepared = False
        self._is_closed = False
        self._bytes_since_checkpoint = 0
        self._start_in_this_process()
        with _registry_lock:
            _every_pool.add(self)

    @contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own, in no transaction, until the block ends.

        Raises:
            EngineError: The pool was closed, or the file cannot be used in WAL mode.
        """
        self._notice_fork()
        pid, connection = os.getpid(), self._take()
        try:
            yield connection
        finally:
            self._give_back(connection, pid)

    @contextmanager
    def write(self, size: int, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """A connection in a write transaction: committed when the block ends, rolled back when it raises.

        Args:
            size: Roughly how many bytes are written or removed; after enough of them there is a checkpoint.
            durable: Whether this commit, and with it every one before, is on the disk afterwards.

        Raises:
            TimeoutError: Other writers took too long.
        """
        self._notice_fork()
        with _turn(self._writer), self.lend() as connection, _file_lock(self._path):
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with _transaction(connection):
                yield connection
            self._bytes_since_checkpoint += size
            if self._bytes_since_checkpoint >= _CHECKPOINT_BYTES:
                self._checkpoint(connection)

    def close(self) -> None:
        """Close the idle connections now, and the lent ones when they come back."""
        self._notice_fork()
        with self._condition:
            self._is_closed = True
            self._close_idle()

    def _take(self) -> sqlite3.Connection:
        with self._condition:
            self._condition.wait_for(lambda: not self._is_forking)
            if self._is_closed:
                raise EngineError(f"{self._path} was closed: make a new store to use it again")
            connection = self._idle.pop() if self._idle else self._open()
            self._lent += 1
            return connection

    def _give_back(self, connection: sqlite3.Connection, pid: int) -> None:
        if pid != os.getpid():
            _abandoned.append(connection)
            return
        with self._condition:
            self._lent -= 1
            self._idle.append(connection)
            if self._is_closed:
                self._close_idle()
            self._condition.notify_all()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            if not self._is_prepared:
                self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._is_prepared = True
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # SQLite does not wait for the change to WAL mode: of two processes at once, one would fail.
        with _file_lock(self._path):
            connection.execute(f"PRAGMA page_size = {self._page_bytes}")
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise EngineError(f"{self._path} cannot use a write-ahead log: put it on a local disk")
            with _transaction(connection):
                self._create_tables(connection)

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        self._bytes_since_checkpoint = 0
        try:
            with closing(self._open()) as guard, _transaction(guard):
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except (sqlite3.Error, OSError) as error:
            # Housekeeping: the caller's bytes are committed, and the next checkpoint does this one's work.
            _log.warning("Could not checkpoint %s: %s", self._path, error)

    # --- forks --------------------------------------------------------------------------------------------

    def _notice_fork(self) -> None:
        # For forks that skip the hooks below, made by a server written in C.
        if self._pid != os.getpid():
            self._start_in_this_process()

    def _start_in_this_process(self) -> None:
        # New locks: a thread that does not exist in this process may hold the old ones.
        self._condition = Condition()
        self._writer = Lock()
        _abandoned.extend(self._idle)
        self._idle = []
        self._lent = 0
        self._is_forking = False
        self._pid = os.getpid()

    def before_fork(self) -> None:
        """Wait for the lent connections, close all, and lend none until the fork is over."""
        self._notice_fork()
        self._condition.acquire()
        self._is_forking = True
        # Loans are short; one that is not must not stop the program.
        self._condition.wait_for(lambda: self._lent == 0, timeout=_BUSY_SECONDS)
        self._close_idle()

    def after_fork_in_parent(self) -> None:
        """Lend again."""
        self._is_forking = False
        self._condition.notify_all()
        self._condition.release()

    def after_fork_in_child(self) -> None:
        """Lend again, in a process that starts with nothing open."""
        self._start_in_this_process()


#: Held while a pool is added, and from before a fork until after it: so the pools that were paused are those
#: that are woken, two forks do not mix, and no child inherits it in the hands of a thread it does not have.
_registry_lock = Lock()
_every_pool: weakref.WeakSet[Connections] = weakref.WeakSet()
_paused: list[Connections] = []


def _before_fork() -> None:
    _registry_lock.acquire()
    _paused.extend(_every_pool)
    for pool in _paused:
        pool.before_fork()


def _after_fork_in_parent() -> None:
    for pool in _paused:
        pool.after_fork_in_parent()
    _paused.clear()
    _registry_lock.release()


def _after_fork_in_child() -> None:
    for pool in _paused:
        pool.after_fork_in_child()
    _paused.clear()
    _registry_lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


# --- transactions and locks -------------------------------------------------------------------------------


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE: a transaction that becomes a writer later may fail at once, without waiting.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _turn(writer: Lock) -> Iterator[None]:
    if not writer.acquire(timeout=_BUSY_SECONDS):
        raise TimeoutError("The writers of this process took too long")
    try:
        yield
    finally:
        writer.release()


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    # Beside the database: closing another handle on the database itself would drop SQLite's locks on it.
    # Looking again and again instead of flock's own waiting, which has no time limit.
    name = path.with_name(f"{path.name}.lock")
    deadline = time.monotonic() + _BUSY_SECONDS
    with open(name, "ab") as lock:
        while not _is_locked_now(lock.fileno()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"The writers of other processes took too long: {name} is locked")
            time.sleep(_LOOK_AGAIN_SECONDS)
        try:
            yield
        finally:
            # Said, not left to close(): a process forked meanwhile would go on holding the lock.
            fcntl.flock(lock, fcntl.LOCK_UN)


def _is_locked_now(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

"""Who writes to a SQLite file, and when: one at a time, in turn, and many with one commit.

A thread that finds nobody writing writes by itself, at once. Whoever comes meanwhile joins a queue, and a thread of
the writer's own takes over: it runs what waits one after another on one connection, each under a savepoint, and one
commit, which waits for the disk once, covers them all. Nobody is answered before that. A lone write waits for nobody;
after a batch, those who were in it get a moment to come back before the next one begins.

Among processes the same is a lock beside the file (`file_lock`), taken before SQLite's own. Waiting is bounded in
number and in time, and its end is an `OverloadedError`. What is written, and what it means, is the caller's business.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from flask_convex_http.errors import ConvexHTTPError, EngineError, FunctionCallError, OverloadedError
from flask_convex_http.sqlite.checkpoints import Checkpoints
from flask_convex_http.sqlite.commit_delay import Gathering
from flask_convex_http.sqlite.connections import Connections, sqlite3, this_process
from flask_convex_http.sqlite.process_lock import FileLock

logger = logging.getLogger("flask_convex_http")

T = TypeVar("T")
Work = Callable[[Any], T]

#: Seconds after which a batch takes in no more: who is in it waits for the last of them.
_BATCH_SECONDS = 0.01
#: Commits from one look at how long the log is to the next; a look takes a tenth of the time of a small commit.
_LOOK_EVERY = 8
#: Seconds the writer's thread stays when there is nothing to do.
_LINGER_SECONDS = 1.0


class _Write:
    """Something that waits to be written; `done` is released when its end is known."""

    __slots__ = ("alone", "context", "done", "error", "result", "work")

    def __init__(self, work: Work[Any], *, alone: bool) -> None:
        self.work = work
        self.alone = alone
        self.context = contextvars.copy_context()  # it runs in another thread, which must look like this one
        self.done = threading.Lock()
        self.done.acquire()
        self.result: Any = None
        self.error: BaseException | None = None


class Writer:
    """The one way of a process to write to a file.

    Args:
        path: The database file.
        connections: Where it gets its connections.
        translate: Makes the package's errors of the driver's.
        timeout: Seconds a write waits to be begun with.
        depth: How many writes may wait.
    """

    def __init__(
        self,
        path: Path,
        connections: Connections,
        translate: Callable[[Exception], ConvexHTTPError],
        *,
        timeout: float,
        depth: int,
    ) -> None:
        self.pid = this_process()
        self._connections = connections
        self._translate = translate
        self._timeout = timeout
        self._depth = depth
        self._lock = FileLock(path)
        self._checkpoints = Checkpoints(path)
        self._mutex = threading.Lock()
        self._queue: deque[_Write] = deque()
        self._is_taken = False  # some thread has the turn, and only that thread lets go of it
        self._thread: threading.Thread | None = None
        self._calls = threading.Semaphore(0)
        self._commits = 0
        self._gathering = Gathering(self._queue, self._mutex)
        self._commit_seconds = 0.0
        self._here = threading.local()

    def run(self, work: Work[T], *, alone: bool = False, patience: float | None = None) -> T:
        """Run work on a connection in a transaction, commit it, and answer its result.

        Args:
            work: Gets the connection. It may be run again from the start, in another thread with this one's context.
            alone: Whether it is to have the connection for itself and make its transactions itself.
            patience: Seconds it waits at most to be begun with, if less than the writer's.

        Raises:
            OverloadedError: It waited too long to be begun with, or too many wait already; nothing was done.
            EngineError: The commit failed.
            Exception: What the work raises; nothing of it is written then.
        """
        if getattr(self._here, "is_writing", False):
            raise FunctionCallError(
                "A mutation was started inside a mutation, where it would wait for itself; use ctx.run_mutation there"
            )
        write = self._enter(work, alone=alone)
        if write is not None:
            return cast(T, self._wait(write, patience))
        try:
            if self._lock.try_acquire():
                return self._write_here(work, alone=alone)
            write = _Write(work, alone=alone)  # another process writes
            with self._mutex:
                self._queue.appendleft(write)
        finally:
            self._pass_on()
        return cast(T, self._wait(write, patience))

    def close(self) -> None:
        """Let go of the files of the lock, unless somebody writes."""
        with self._mutex:
            if not self._is_taken:
                self._lock.close()

    # --- whose turn it is --------------------------------------------------------------------------------------------

    def _enter(self, work: Work[Any], *, alone: bool) -> _Write | None:
        """Take the turn, or else a place in the queue."""
        with self._mutex:
            if not self._is_taken:
                self._is_taken = True
                return None
            if len(self._queue) >= self._depth:
                raise OverloadedError("Too many writes wait for the database; try again in a moment")
            write = _Write(work, alone=alone)
            self._queue.append(write)
            self._gathering.note_arrival()
            return write

    def _pass_on(self) -> None:
        """Give the turn to the writer's thread, if something waits."""
        if self.pid != this_process():  # the work has called fork(), and this is the child: the turn is the parent's
            return
        with self._mutex:
            if not self._queue:
                self._is_taken = False
            elif self._thread is not None:
                self._calls.release()
            else:
                self._start_thread()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name="convex-writer", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads: let the next one try, and whoever waits come back
            logger.exception("The writer's thread could not be started")
            self._is_taken = False
            _refuse(self._empty_queue(), OverloadedError("No thread is left to write with; try again in a moment"))
        else:
            self._thread = thread

    def _wait(self, write: _Write, patience: float | None) -> Any:
        timeout = self._timeout if patience is None else min(patience, self._timeout)
        try:
            while not write.done.acquire(timeout=timeout):
                if self._withdraw(write):  # or else it has begun, and may only have to begin again
                    raise OverloadedError("The database is busy with other writes; try again in a moment")
        except BaseException:  # Ctrl-C, for one
            self._withdraw(write)
            raise
        if write.error is not None:
            raise write.error
        return write.result

    def _withdraw(self, write: _Write) -> bool:
        """Take a write out of the queue; whether it was still there."""
        with self._mutex:
            is_there = write in self._queue
            if is_there:
                self._queue.remove(write)
            return is_there

    # --- writing by oneself ------------------------------------------------------------------------------------------

    def _write_here(self, work: Work[T], *, alone: bool) -> T:
        """Write in this thread, which has the turn and the lock."""
        self._here.is_writing = True
        try:
            with self._connections.lend() as connection:
                result = work(connection) if alone else self._commit_one(work, connection)
                self._checkpoint_if_due(connection, look=alone)
                return result
        finally:
            self._here.is_writing = False
            if self.pid == this_process():
                self._lock.release()

    def _commit_one(self, work: Work[T], connection: Any) -> T:
        self._execute("BEGIN IMMEDIATE", connection)
        try:
            result = work(connection)
        except BaseException:
            self._roll_back(connection)
            raise
        if self.pid == this_process():
            _check_transaction(connection)
            self._commit(connection)
        return result

    # --- writing for all that wait -----------------------------------------------------------------------------------

    def _serve(self) -> None:
        """What the writer's thread does: while it has the turn, it writes what waits."""
        self._here.is_writing = True
        while True:
            while self._has_next():
                self._gathering.wait(self._write_batch(), self._commit_seconds)
            if not self._calls.acquire(timeout=_LINGER_SECONDS) and self._ends():
                return

    def _has_next(self) -> bool:
        with self._mutex:
            self._is_taken = bool(self._queue)
            return self._is_taken

    def _ends(self) -> bool:
        with self._mutex:
            if self._calls.acquire(blocking=False):  # called after it had stopped listening
                return False
            self._thread = None
            return True

    def _write_batch(self) -> int:
        """Write what waits; answers how many it was."""
        batch: list[_Write] = []
        count = 0
        try:
            self._lock.acquire()
            try:
                count = self._write_next(batch)
            finally:
                self._lock.release()
        except Exception as error:  # the file cannot be opened, or the commit has failed
            with self._mutex:
                refused = batch or self._empty_queue()
            _refuse(refused, error if isinstance(error, ConvexHTTPError) else EngineError(f"Writing failed: {error!r}"))
        _answer(batch)
        return count

    def _write_next(self, batch: list[_Write]) -> int:
        """Write what waits, and answer how many it was; the batch is who has no answer yet."""
        with self._connections.lend() as connection:
            alone = self._next(alone=True)
            if alone is not None:
                self._run(alone, alone.work, connection, batch)
            else:
                self._write_group(connection, batch)
            count = len(batch)
            self._checkpoint_if_due(connection, batch, look=alone is not None)
        return count

    def _write_group(self, connection: Any, batch: list[_Write]) -> None:
        try:
            self._execute("BEGIN IMMEDIATE", connection)
        except OverloadedError:  # another program writes: each waits on, as long as it wants to
            return
        self._run_group(connection, batch)
        if not connection.in_transaction:  # a full disk, say: the last one is told so, the others do without it
            with self._mutex:
                self._queue.extendleft(reversed(batch[:-1]))
            del batch[:-1]
            return
        began = time.monotonic()
        self._commit(connection)
        self._commit_seconds = time.monotonic() - began

    def _run_group(self, connection: Any, batch: list[_Write]) -> None:
        """Run what waits, in the order it came."""
        end = time.monotonic() + _BATCH_SECONDS
        while time.monotonic() < end and (write := self._next(alone=False)) is not None:
            work = partial(self._under_savepoint if batch else self._as_first, write.work)
            self._run(write, work, connection, batch)
            if not connection.in_transaction:
                return

    def _next(self, *, alone: bool) -> _Write | None:
        with self._mutex:
            if self._queue and self._queue[0].alone == alone:
                return self._queue.popleft()
            return None

    def _run(self, write: _Write, work: Work[Any], connection: Any, batch: list[_Write]) -> None:
        """Run one of those that wait. If it fails it hears so when all do: it may have failed for what they wrote."""
        batch.append(write)
        write.error = None
        try:
            write.result = write.context.run(work, connection)
        except BaseException as error:
            write.error = error
        if self.pid != this_process():  # the work has called fork(): its child has no caller here to go back to
            os._exit(1)

    def _as_first(self, work: Work[T], connection: Any) -> T:
        """Run what needs no savepoint, because the whole transaction can begin anew without it."""
        try:
            result = work(connection)
            _check_transaction(connection)
        except BaseException:
            self._roll_back(connection)
            with contextlib.suppress(ConvexHTTPError):  # without a transaction the group ends here
                self._execute("BEGIN IMMEDIATE", connection)
            raise
        return result

    def _under_savepoint(self, work: Work[T], connection: Any) -> T:
        self._execute("SAVEPOINT one", connection)
        try:
            result = work(connection)
            _check_transaction(connection)
            self._execute("RELEASE one", connection)
        except BaseException:
            if connection.in_transaction:
                self._undo_one(connection)
            raise
        return result

    def _undo_one(self, connection: Any) -> None:
        try:
            self._execute("ROLLBACK TO one", connection)
            self._execute("RELEASE one", connection)
        except ConvexHTTPError:  # rather undo them all, and run the others again, than commit a part of this one
            self._roll_back(connection)

    def _empty_queue(self) -> list[_Write]:
        """Take all that waits; the mutex is held."""
        waiting = list(self._queue)
        self._queue.clear()
        return waiting

    # --- the connection ----------------------------------------------------------------------------------------------

    def _execute(self, statement: str, connection: Any) -> None:
        try:
            connection.execute(statement)
        except sqlite3.Error as error:
            raise self._translate(error) from error

    def _commit(self, connection: Any) -> None:
        try:
            self._execute("COMMIT", connection)
        except BaseException:
            self._roll_back(connection)
            raise

    def _roll_back(self, connection: Any) -> None:
        if self.pid == this_process() and connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # the pool keeps no connection that is in a transaction
                connection.execute("ROLLBACK")

    def _checkpoint_if_due(self, connection: Any, batch: list[_Write] | None = None, *, look: bool) -> None:
        """Make a checkpoint if one is due, and answer the batch first: what was committed stays so."""
        self._commits += 1
        if not look and self._commits % _LOOK_EVERY:
            return
        if self.pid != this_process() or self._connections.here().is_paused:
            return
        try:
            if self._checkpoints.are_due():
                _answer(batch or [])
                with self._connections.lend() as other:
                    self._checkpoints.make(connection, other)
        except Exception:
            logger.exception("A checkpoint failed; what was written is safe in the write-ahead log")


def _refuse(batch: list[_Write], error: Exception) -> None:
    for write in batch:
        write.error = copy.copy(error)  # each is raised in a thread of its own
    _answer(batch)


def _answer(batch: list[_Write]) -> None:
    for write in batch:
        write.done.release()
    batch.clear()


def _check_transaction(connection: Any) -> None:
    if not connection.in_transaction:  # and the work has not let the error out
        raise EngineError("The database has undone the whole transaction, for want of space perhaps")
